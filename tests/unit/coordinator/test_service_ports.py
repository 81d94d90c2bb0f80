"""A coordinator that can't have a port says which and how to choose another."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.timeout(60)


@pytest.mark.parametrize("flag", ["--listen", "--agent-listen", "--http"])
def test_a_taken_port_names_its_flag(tmp_path: Path, flag: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        addresses = {"--listen": "127.0.0.1:0", "--agent-listen": "127.0.0.1:0", "--http": "127.0.0.1:0", flag: address}
        options = [word for pair in addresses.items() for word in pair]
        serve = [sys.executable, "-m", "coordinator", "serve", "--data-dir", str(tmp_path / "data"), *options]
        done = subprocess.run(serve, capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 74
    assert done.stderr.startswith(f"Error: can't listen on {address}")
    assert done.stderr.endswith(f"choose another with {flag}\n")
    assert done.stderr.count("\n") == 1
