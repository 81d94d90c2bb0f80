"""The HTML pages (Jinja, always escaping) and the static files, both read once at start."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from aiohttp import web
from jinja2 import DictLoader, Environment, StrictUndefined

_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


class Templates:
    """Renders the files of the package's ``pages`` folder."""

    def __init__(self, version: str) -> None:
        folder = files("coordinator.web") / "pages"
        sources = {entry.name: entry.read_text("utf-8") for entry in folder.iterdir() if entry.name.endswith(".html")}
        self._environment = Environment(
            loader=DictLoader(sources), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
        )
        self._environment.globals["version"] = version
        self._environment.globals["user"] = None

    def answer(
        self, name: str, *, status: int = 200, headers: dict[str, str] | None = None, **values: Any
    ) -> web.Response:
        """A page as an answer."""
        text = self._environment.get_template(name).render(values)
        return web.Response(text=text, content_type="text/html", status=status, headers=headers)


@dataclass(frozen=True, slots=True)
class _Static:
    content: bytes
    content_type: str
    etag: str


class StaticFiles:
    """The files of the package's ``static`` folder. They are the same for everyone and tell nothing of the cluster."""

    def __init__(self) -> None:
        self._files = {}
        for entry in (files("coordinator.web") / "static").iterdir():
            content_type = _TYPES.get(entry.name[entry.name.rfind(".") :])
            if content_type:
                content = entry.read_bytes()
                self._files[entry.name] = _Static(content, content_type, hashlib.sha256(content).hexdigest()[:32])

    async def get(self, request: web.Request) -> web.Response:
        """Answer with the file, or with 304 to a client that has it. Raises HTTPNotFound."""
        file = self._files.get(request.match_info["name"])
        if file is None:
            raise web.HTTPNotFound
        # "no-cache": kept by browsers, but compared at each use, so an upgrade is seen at once.
        headers = {"Cache-Control": "no-cache", "ETag": f'"{file.etag}"'}
        if any(tag.value in (file.etag, "*") for tag in request.if_none_match or ()):
            return web.Response(status=304, headers=headers)
        return web.Response(body=file.content, content_type=file.content_type, charset="utf-8", headers=headers)
