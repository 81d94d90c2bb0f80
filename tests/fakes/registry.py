"""A registry of images, as small as one can be: it serves what podman saved, to who knows the password."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.fakes.podman import IMAGE, Podman

USER, PASSWORD = "me", "pass: WORD-of-mine"


class Registry:
    """Serves one image as ``NAME/private:TAG``, for any tag but ``missing``; what was asked for is in ``asked``."""

    def __init__(self, layout: Path) -> None:
        (entry,) = json.loads((layout / "index.json").read_text())["manifests"]
        self.blobs, self.manifest, self.kind = layout / "blobs" / "sha256", entry["digest"], entry["mediaType"]
        self.asked: list[str] = []
        self.broken = 0
        registry = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                registry.answer(self)

            def do_HEAD(self) -> None:
                registry.answer(self)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.name = f"127.0.0.1:{self._server.server_port}"

    def image(self, tag: str = "1") -> str:
        """The image's name."""
        return f"{self.name}/private:{tag}"

    def pulls(self, tag: str) -> int:
        """How often the image was asked for by this tag."""
        return sum(path.endswith(f"/manifests/{tag}") for path in self.asked)

    def answer(self, call: BaseHTTPRequestHandler) -> None:
        """Answer one call."""
        wanted = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        last = call.path.rpartition("/")[2]
        if call.command == "GET":
            self.asked.append(call.path)
        if call.headers.get("Authorization") != wanted:
            self._send(call, 401, b'{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}')
        elif call.path == "/v2/":
            self._send(call, 200, b"{}")
        elif self.broken > 0 and "/manifests/" in call.path:
            self.broken -= 1
            self._send(call, 503, b"{}")
        elif "/manifests/" in call.path and last != "missing":
            self._send(call, 200, self._blob(self.manifest), self.kind)
        elif "/blobs/" in call.path and (self.blobs / last.removeprefix("sha256:")).exists():
            self._send(call, 200, self._blob(last), "application/octet-stream")
        else:
            self._send(call, 404, b'{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}')

    def _blob(self, digest: str) -> bytes:
        return (self.blobs / digest.removeprefix("sha256:")).read_bytes()

    def _send(self, call: BaseHTTPRequestHandler, code: int, body: bytes, kind: str = "application/json") -> None:
        call.send_response(code)
        call.send_header("Content-Type", kind)
        call.send_header("Content-Length", str(len(body)))
        call.send_header("Docker-Distribution-Api-Version", "registry/2.0")
        if kind == self.kind:
            call.send_header("Docker-Content-Digest", self.manifest)
        if code == 401:
            call.send_header("WWW-Authenticate", 'Basic realm="test"')
        call.end_headers()
        if call.command == "GET":
            call.wfile.write(body)

    @contextmanager
    def serving(self) -> Iterator[Registry]:
        """Answers within."""
        thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()


@contextmanager
def registry(podman: Podman) -> Iterator[Registry]:
    """A registry with the image of the tests, which this ``podman`` may ask without TLS."""
    layout = podman.directory / "layout"
    if not layout.exists():
        podman("save", "--format", "oci-dir", "--output", str(layout), IMAGE)
    with Registry(layout).serving() as found:
        conf = podman.directory / "registries.conf"
        conf.write_text(f'[[registry]]\nlocation = "{found.name}"\ninsecure = true\n')
        podman.environ["CONTAINERS_REGISTRIES_CONF"] = str(conf)
        yield found
