"""A provider's metadata service: answers what a test has it answer, and remembers what it was asked."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(slots=True)
class Metadata:
    """``status``, ``body``, ``headers`` of the next answers at ``url``; ``asked`` are requests with their headers."""

    url: str = ""
    status: int = 404
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    asked: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)


@contextmanager
def metadata() -> Iterator[Metadata]:
    """Served on a free port of the loopback."""
    told = Metadata()

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            told.asked.append((self.command, self.path, dict(self.headers)))
            self.send_response(told.status)
            for name, value in told.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(told.body)

        do_GET = do_PUT = answer  # noqa: N815 -- the names that the library asks for

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    told.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield told
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
