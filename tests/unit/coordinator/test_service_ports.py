"""A coordinator that can't have a port says which and why; one that may have any keeps what it had."""

from __future__ import annotations

import io
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

from coordinator.greeting import Endpoints, greet

pytestmark = pytest.mark.timeout(60)

ANY = {"--listen": "127.0.0.1:0", "--agent-listen": "127.0.0.1:0", "--http": "127.0.0.1:0"}


def serve(data_dir: Path, options: dict[str, str]) -> list[str]:
    words = [word for pair in options.items() for word in pair]
    return [sys.executable, "-m", "coordinator", "serve", "--data-dir", str(data_dir), *words]


def refusal(data_dir: Path, options: dict[str, str], **environ: str) -> str:
    variables = {**os.environ, **environ}
    done = subprocess.run(
        serve(data_dir, options), capture_output=True, text=True, timeout=50, check=False, env=variables
    )
    assert done.returncode == 74
    *warnings, said = done.stderr.splitlines(keepends=True)
    assert all(line.startswith("Warning: ") for line in warnings)
    assert "".join(warnings).count("RALLYPOINT_LISTE ") == ("RALLYPOINT_LISTE" in environ)
    return said


@pytest.mark.parametrize("flag", ["--listen", "--agent-listen", "--http", "--install-listen"])
def test_a_taken_port_names_its_flag(tmp_path: Path, flag: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        said = refusal(tmp_path / "data", {**ANY, flag: address})
    assert said == f"Error: can't listen on {address} ({flag}): the port is taken; choose another with {flag}\n"


def test_an_address_of_another_machine_is_not_a_taken_port(tmp_path: Path) -> None:
    said = refusal(tmp_path, {"--listen": "192.0.2.1:0", "--http": "off"})
    assert said == (
        "Error: can't listen on 192.0.2.1:0 (for agents, as it follows --listen): 192.0.2.1 is no address of this"
        " machine; choose another with --agent-listen or --listen\n"
    )
    said = refusal(tmp_path, {**ANY, "--http": "192.0.2.1:0"})
    assert said.startswith("Error: can't listen on 192.0.2.1:0 (--http): 192.0.2.1 is no address of this machine;")


def test_a_variable_is_named_like_a_flag(tmp_path: Path) -> None:
    options = {"--agent-listen": "127.0.0.1:0", "--http": "off"}
    said = refusal(tmp_path, options, RALLYPOINT_LISTEN="no-such-host.invalid:0", RALLYPOINT_LISTE="127.0.0.1:0")
    assert "(RALLYPOINT_LISTEN): the host name 'no-such-host.invalid' is not known; " in said
    assert said.endswith("choose another with RALLYPOINT_LISTEN\n")


@contextmanager
def serving(data_dir: Path, options: dict[str, str]) -> Iterator[dict[str, int]]:
    """A coordinator that is ready; the ports it wrote down."""
    process = subprocess.Popen(serve(data_dir, options), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert process.stdout is not None
        _until_greeted(process.stdout)
        content = json.loads((data_dir / "endpoints.json").read_text())
        yield {name: int(content[name].strip("/").rpartition(":")[2]) for name in ("api", "agents", "web")}
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)


def _until_greeted(out: IO[str]) -> None:
    assert any("token create" in line for line in out)


@pytest.mark.parametrize("install", ["127.0.0.1:7445", None])
def test_the_greeting_names_the_line_for_a_new_machine_where_there_is_an_installer(
    tmp_path: Path, install: str | None
) -> None:
    port = 7445 if install else 0
    found = Endpoints((), "127.0.0.1:0", 7443, "127.0.0.1:0", 7444, None, 0, 7444, install, port)
    said = io.StringIO()
    greet(said, tmp_path, found, tmp_path / "admin.toml")
    line = f"coordinator --context {tmp_path / 'admin.toml'} token create --show-install\n"
    assert (line in said.getvalue()) is (install is not None)
    assert "token create | agent join 127.0.0.1:7443 --token-file -\n" in said.getvalue()


def test_any_port_stays_the_same_when_started_again(tmp_path: Path) -> None:
    with serving(tmp_path, ANY) as first:
        assert len(set(first.values())) == 3
    with serving(tmp_path, ANY) as second:
        assert second == first
    with socket.create_server(("127.0.0.1", first["agents"])), serving(tmp_path, ANY) as third:
        assert third["agents"] != first["agents"]
        assert (third["api"], third["web"]) == (first["api"], first["web"])
    # The port that agents had is asked for by name now, for something else.
    moved = {**ANY, "--listen": f"127.0.0.1:{third['agents']}"}
    with serving(tmp_path, moved) as fourth:
        assert fourth["api"] == third["agents"]
        assert fourth["agents"] not in third.values()


def test_damaged_endpoints_do_not_matter(tmp_path: Path) -> None:
    (tmp_path / "endpoints.json").write_text('{"api": 3, "agents": "x"}')
    with serving(tmp_path, ANY) as ports:
        assert all(ports.values())
