"""The ground that the other tests stand on: who reaches whom in a site of two networks with the same addresses."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.multihost.net import HUB_ADDRESS, Lan, Site

pytestmark = [pytest.mark.multihost, pytest.mark.timeout(60)]

PORT = 5000
SERVE = """
import socket, sys
server = socket.create_server((sys.argv[1], int(sys.argv[2])))
print("ready", flush=True)
while True:
    server.accept()[0].sendall(socket.gethostname().encode())
"""
ASK = """
import socket, sys
try:
    print(socket.create_connection((sys.argv[1], int(sys.argv[2])), 1.0).recv(100).decode())
except OSError as error:
    print("unreached")
"""


@contextmanager
def serving(enter: tuple[str, ...], address: str) -> Iterator[None]:
    command = [*enter, sys.executable, "-c", SERVE, address, str(PORT)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            assert server.stdout.readline() == "ready\n"
            yield
        finally:
            server.kill()


def ask(site: Site, source: str, address: str) -> str:
    command = [*site.hosts[source].enter, sys.executable, "-c", ASK, address, str(PORT)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_hosts_reach_their_network_and_the_hub_and_no_one_else(tmp_path: Path) -> None:
    with Site.open({"a": Lan("10.7.0", 2), "b": Lan("10.7.0", 2)}, tmp_path) as site:
        a2, b2 = site.hosts["a2"], site.hosts["b2"]
        assert a2.address == b2.address == "10.7.0.12"
        with serving(a2.enter, a2.address), serving(b2.enter, b2.address), serving(site.hub, HUB_ADDRESS):
            assert ask(site, "a1", "10.7.0.12") == "a2"
            assert ask(site, "b1", "10.7.0.12") == "b2"
            assert ask(site, "a1", HUB_ADDRESS) != "unreached"
            assert ask(site, "b1", HUB_ADDRESS) != "unreached"
            # Neither the other network's gateway nor, by its address, what lies behind it.
            assert ask(site, "a1", "198.51.100.12") == "unreached"


def test_a_cut_link_is_cut_in_one_direction(tmp_path: Path) -> None:
    with Site.open({"a": Lan("10.7.1", 2)}, tmp_path) as site:
        a1, a2 = site.hosts["a1"], site.hosts["a2"]
        with serving(a1.enter, a1.address), serving(a2.enter, a2.address):
            with site.cut("a1", "a2"):
                assert ask(site, "a1", a2.address) == "unreached"
                assert ask(site, "a2", a1.address) == "a1"
            assert ask(site, "a1", a2.address) == "a2"


def test_hosts_have_no_ssh(tmp_path: Path) -> None:
    with Site.open({"a": Lan("10.7.1", 1)}, tmp_path) as site:
        found = subprocess.run(
            [*site.hosts["a1"].enter, "sh", "-c", "command -v ssh || command -v rsh"], capture_output=True, check=False
        )
    assert found.stdout == b""


def test_a_site_leaves_nothing_behind(tmp_path: Path) -> None:
    with Site.open({"a": Lan("10.7.1", 1)}, tmp_path) as site:
        left = subprocess.Popen([*site.hosts["a1"].enter, "sleep", "1000"])
        namespace = site.hosts["a1"].namespace
    assert left.wait(timeout=5) == -9
    assert not Path("/run/netns", namespace).exists()
