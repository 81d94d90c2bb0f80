"""Whoever sits between a host and its coordinator: TLS with a certificate of their own. Run as a program.

Says a seed (from a file) to who asks for it, and a manifest that would have hosts run what is theirs.
"""

from __future__ import annotations

import http.server
import json
import ssl
import sys
from pathlib import Path

WHEEL = {"name": "rallypoint-6.6.6-py3-none-any.whl", "sha256": "66" * 32, "size": 666}


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers everything."""

    def do_GET(self) -> None:
        """The seed, or the manifest."""
        answer = seed if self.path == "/install" else json.dumps({"wheel": WHEEL, "pip": None}).encode()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


if __name__ == "__main__":
    address, pair, seed_file = sys.argv[1:]
    seed = Path(seed_file).read_bytes()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair)
    server = http.server.ThreadingHTTPServer((address, 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    print(server.server_address[1], flush=True)
    server.serve_forever()
