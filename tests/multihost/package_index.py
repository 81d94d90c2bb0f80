"""A package index (PEP 503) of the wheels in a folder, as a host's pip may be set up for. Run as a program."""

from __future__ import annotations

import functools
import http.server
import re
import sys
from pathlib import Path


class Handler(http.server.SimpleHTTPRequestHandler):
    """Lists a project's wheels; serves them as files."""

    def do_GET(self) -> None:
        """``/simple/PROJECT/``, or a file."""
        parts = self.path.strip("/").split("/")
        if parts[0] != "simple" or len(parts) != 2:
            super().do_GET()
            return
        names = [path.name for path in Path(self.directory).glob("*.whl")]
        named = [name for name in names if re.sub(r"[-_.]+", "-", name.split("-")[0]).lower() == parts[1]]
        self.send_response(200 if named else 404)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write("".join(f'<a href="/{name}">{name}</a>\n' for name in named).encode())

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


if __name__ == "__main__":
    address, folder = sys.argv[1:]
    server = http.server.ThreadingHTTPServer((address, 0), functools.partial(Handler, directory=folder))
    print(server.server_address[1], flush=True)
    server.serve_forever()
