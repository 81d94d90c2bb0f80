"""Who is asking: a bearer token, or the session of a browser that showed one. Everything but OPEN needs it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from urllib.parse import urlsplit

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler

from coordinator.web.answers import Errors, for_machines
from coordinator.web.ports import Authenticate, Identity
from coordinator.web.sessions import Brake, Sessions
from coordinator.web.templates import Templates

log = structlog.get_logger()

# They tell only whether the coordinator lives and serves.
PROBES = frozenset({"/healthz", "/readyz"})
# The way in; like the static files, the same for everyone.
OPEN = PROBES | {"/login"}
_IDENTITY: web.RequestKey[Identity] = web.RequestKey("identity")
_PAGES = re.compile(r"/(jobs/[A-Za-z0-9._-]+)?")


def identity_of(request: web.Request) -> Identity:
    """The checked identity of a request."""
    return request[_IDENTITY]


class Auth:
    """The middleware that asks for identity, and the sign-in page."""

    def __init__(
        self,
        authenticate: Authenticate,
        templates: Templates,
        errors: Errors,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._authenticate = authenticate
        self._templates = templates
        self._errors = errors
        self._clock = clock
        self._sessions = Sessions()
        self._brake = Brake()
        self.failures = 0

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Let a request through only with an identity, or to a path that needs none."""
        if request.path in OPEN or request.path.startswith("/static/"):
            return await handler(request)
        identity = await self.identify(request)
        if identity is None:
            return self._refuse(request)
        request[_IDENTITY] = identity
        return await handler(request)

    async def identify(self, request: web.Request) -> Identity | None:
        """Who asks, checked now: streams call it again while they last."""
        token = _bearer(request)
        if token is not None:
            return await self._authenticate(token)
        key = request.cookies.get(_cookie_name(request), "")
        shown = self._sessions.token(key, self._clock())
        return await self._authenticate(shown) if shown else None

    def _refuse(self, request: web.Request) -> web.Response:
        message = "A user token is needed: sign in, or send 'Authorization: Bearer TOKEN'."
        if _bearer(request) is not None:
            # Only wrong tokens are held up: a scraper with an old one must not keep others behind its address out.
            key = f"bearer {request.remote}"
            wait = self._brake.wait(key, self._clock())
            if wait:
                message = f"Too many wrong tokens; wait {wait} s."
                return self._errors.answer(request, 429, "TOO_MANY_FAILURES", message, {"Retry-After": str(wait)})
            self._count_failure(request, key)
            message = "The token is unknown, expired or revoked; ask an administrator for a new one."
        if for_machines(request):
            headers = {"WWW-Authenticate": 'Bearer realm="rallypoint"'}
            return self._errors.answer(request, 401, "UNAUTHENTICATED", message, headers)
        after = request.path if _PAGES.fullmatch(request.path) else "/"
        return web.Response(status=303, headers={"Location": f"/login?next={after}" if after != "/" else "/login"})

    async def show_login(self, request: web.Request) -> web.Response:
        """The sign-in page."""
        return self._login_page(request.query.get("next", "/"))

    async def login(self, request: web.Request) -> web.Response:
        """Open a session for a good token."""
        _check_origin(request)
        form = await request.post()
        after = str(form.get("next", "/"))
        address = f"login {request.remote}"
        wait = self._brake.wait(address, self._clock())
        if wait:
            return self._login_page(after, f"Too many wrong tokens; try again in {wait} seconds.", 429, wait)
        # Copied with the quotes that it has in the context file.
        token = str(form.get("token", "")).strip().strip("\"'")
        identity = await self._authenticate(token) if token else None
        if identity is None:
            self._count_failure(request, address)
            return self._login_page(
                after, "This token is unknown, expired or revoked. Check it, or ask for a new one.", 403
            )
        log.info("web.signed_in", user=identity.name, remote=request.remote)
        answer = web.Response(status=303, headers={"Location": after if _PAGES.fullmatch(after) else "/"})
        key = self._sessions.open(token, self._clock())
        answer.set_cookie(
            _cookie_name(request),
            key,
            max_age=int(self._sessions.lifetime),
            secure=True,
            httponly=True,
            samesite="Strict",
        )
        return answer

    async def logout(self, request: web.Request) -> web.Response:
        """End the session."""
        _check_origin(request)
        self._sessions.close(request.cookies.get(_cookie_name(request), ""))
        answer = web.Response(status=303, headers={"Location": "/login"})
        answer.del_cookie(_cookie_name(request), secure=True, httponly=True, samesite="Strict")
        return answer

    def _login_page(self, after: str, problem: str = "", status: int = 200, wait: int = 0) -> web.Response:
        after = after if _PAGES.fullmatch(after) else "/"
        headers = {"Retry-After": str(wait)} if wait else None
        return self._templates.answer("login.html", status=status, headers=headers, problem=problem, after=after)

    def _count_failure(self, request: web.Request, key: str) -> None:
        self.failures += 1
        self._brake.failed(key, self._clock())
        log.warning("web.wrong_token", remote=request.remote, path=request.path)


def _bearer(request: web.Request) -> str | None:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def _cookie_name(request: web.Request) -> str:
    # Browsers do not tell cookies of different ports apart, and one machine may run several coordinators.
    socket = request.get_extra_info("sockname")
    return f"__Host-rallypoint-{socket[1] if socket else 0}"


def _check_origin(request: web.Request) -> None:
    """Refuse a form that another site made the browser send. Raises HTTPForbidden."""
    origin = request.headers.get("Origin")
    if origin is not None:
        foreign = urlsplit(origin).netloc != request.host
    else:
        foreign = request.headers.get("Sec-Fetch-Site", "none") not in ("same-origin", "none")
    if foreign:
        raise web.HTTPForbidden(reason="The form came from another site; open the page itself and try again")
