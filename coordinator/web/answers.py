"""What every answer has in common: security headers, JSON, and errors that tell the reason and never a traceback."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler

from coordinator.core.errors import Invalid, NotFound, Refused
from coordinator.web.documents import VERSION
from coordinator.web.templates import Templates

log = structlog.get_logger()

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    # Not "no-referrer": browsers then send "Origin: null" with the forms, and the origin could not be checked.
    "Referrer-Policy": "same-origin",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Server": "rallypoint",
}


_STARTED: web.RequestKey[bool] = web.RequestKey("started")


async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Signal handler: put the security headers on every answer, and forbid storing it unless it says otherwise."""
    request[_STARTED] = True
    response.headers.update(HEADERS)
    response.headers.setdefault("Cache-Control", "no-store")


def dumps(value: Any) -> str:
    """Compact JSON, as used in all answers and events."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def json_answer(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """A JSON answer."""
    return web.json_response(value, status=status, headers=headers, dumps=dumps)


def for_machines(request: web.Request) -> bool:
    """True for paths that programs read: their errors are JSON."""
    return request.path.startswith("/api/") or request.path in ("/metrics", "/healthz", "/readyz")


class Errors:
    """The middleware that turns whatever goes wrong into a plain answer."""

    def __init__(self, templates: Templates) -> None:
        self._templates = templates

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer errors in the form that the path's readers understand."""
        try:
            return await handler(request)
        except web.HTTPException as error:
            return self.answer(request, error.status, error.reason.upper().replace(" ", "_"), _words(error))
        except Refused as error:
            return self.answer(request, _status(error), error.reason, str(error))
        except (ConnectionError, TimeoutError):
            raise  # the client went away: there is nobody to answer
        except Exception:
            # The last line of defence: the log gets the traceback, the client a plain answer.
            log.exception("web.request_failed", method=request.method, path=request.path)
            if _STARTED in request:
                raise  # a second answer can't follow a part of the first; aiohttp closes the connection
            return self.answer(
                request, 500, "INTERNAL", "The coordinator could not answer this; its log says why. Try again."
            )

    def answer(
        self, request: web.Request, status: int, reason: str, message: str, headers: dict[str, str] | None = None
    ) -> web.Response:
        """An error as JSON for programs and as a page for people."""
        if for_machines(request):
            error = {"reason": reason, "message": message}
            return json_answer({"version": VERSION, "error": error}, status=status, headers=headers)
        return self._templates.answer(
            "error.html", status=status, headers=headers, title=HTTPStatus(status).phrase, code=status, message=message
        )


def _status(error: Refused) -> int:
    if isinstance(error, NotFound):
        return 404
    return 400 if isinstance(error, Invalid) else 409


def _words(error: web.HTTPException) -> str:
    if error.status == HTTPStatus.NOT_FOUND:
        return "There is nothing here. Start from the overview."
    return f"{error.reason}."
