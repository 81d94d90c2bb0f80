"""Which addresses and ports a host offers to its peers."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from pathlib import Path

import pytest

from agent.endpoint import peer_addresses
from agent.hardware import Address, Interface
from agent.lock import AlreadyRunning, StateLock
from agent.nodes import link_of
from agent.places import Places, UnsafeId
from agent.ports import PortError, PortKeeper


def interface(name: str, *ips: str, speed: int | None = None, up: bool = True, prefix: int = 24) -> Interface:
    return Interface(name, tuple(Address(ip, prefix) for ip in ips), speed, up, loopback=name == "lo")


HOST = (
    interface("lo", "127.0.0.1", "::1", prefix=8),
    interface("docker0", "172.17.0.1"),
    interface("eth0", "192.168.1.5", speed=1000),
    interface("ib0", "10.1.0.5", speed=200_000),
    interface("eth1", "10.2.0.5", up=False),
    interface("eth2", "2a01:4f8::5", "fd00::5", "8.8.4.4"),
)


def test_fast_real_links_come_first_bridges_later_loopback_last() -> None:
    assert peer_addresses(HOST, "0.0.0.0") == ("10.1.0.5", "192.168.1.5", "8.8.4.4", "172.17.0.1", "127.0.0.1")


def test_only_global_ipv6_and_only_if_listened_on() -> None:
    assert [ip for ip in peer_addresses(HOST, "::") if ":" in ip] == ["2a01:4f8::5"]


def test_one_listened_address_is_the_only_one() -> None:
    assert peer_addresses(HOST, "192.168.1.5") == ("192.168.1.5",)
    assert peer_addresses(HOST, "127.0.0.3") == ("127.0.0.3",)
    # Forwarded by NAT, not on any interface: no good to a group.
    assert peer_addresses(HOST, "203.0.113.9") == ()


def test_the_interface_of_the_group_and_its_network() -> None:
    assert link_of("10.1.0.5", ["10.1.0.5", "10.1.0.6"], HOST) == ("ib0", "10.1.0.0/24")
    # Routed: the others are elsewhere, and MPI must not be told to use this network only.
    assert link_of("10.1.0.5", ["10.1.0.5", "10.9.0.6"], HOST) == ("ib0", "")
    assert link_of("10.7.0.1", ["10.7.0.1"], HOST) == ("", "")


def test_mpi_is_told_a_network_only_where_it_has_a_choice() -> None:
    mine, peers = "10.1.0.5", ["10.1.0.5", "10.1.0.6"]
    eth, lo = interface("eth0", mine), interface("lo", "127.0.0.1", prefix=8)
    docker, down = interface("docker0", "172.17.0.1"), interface("docker0", "172.17.0.1", up=False)
    assert link_of(mine, peers, (lo, eth)) == ("eth0", "")
    assert link_of(mine, peers, (lo, eth, down)) == ("eth0", "")
    assert link_of(mine, peers, (lo, eth, docker)) == ("eth0", "10.1.0.0/24")
    # Left alone, MPI avoids the loop-back.
    assert link_of("127.0.0.1", ["127.0.0.1", "127.0.0.2"], (lo, eth)) == ("lo", "127.0.0.0/8")
    assert link_of("127.0.0.1", ["127.0.0.1", "127.0.0.1"], (lo, eth)) == ("lo", "")


def test_a_held_port_is_nobody_elses_until_it_is_released() -> None:
    with socket.socket() as probe:
        probe.bind(("", 0))
        number = probe.getsockname()[1]
    keeper = PortKeeper(number, number)
    assert keeper.hold("a") == number
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind(("", number))
    with pytest.raises(PortError, match=f"no free port from {number} to {number}"):
        keeper.hold("b")
    keeper.release("a")
    with socket.socket() as other:
        other.bind(("", number))


def _two_free_ports() -> int:
    for low in range(40000, 60000, 2):
        with socket.socket() as one, socket.socket() as other, suppress(OSError):
            one.bind(("", low))
            other.bind(("", low + 1))
            return low
    pytest.fail("no two free ports")


def test_a_node_never_has_the_port_of_its_last_attempt() -> None:
    """Also where the range is so small that chance would soon give the same one again."""
    low = _two_free_ports()
    keeper, last = PortKeeper(low, low + 1), 0
    for attempt in range(20):
        port = keeper.hold(f"j-1.0.{attempt}")
        assert port != last
        keeper.release(f"j-1.0.{attempt}")
        last = port


@pytest.mark.parametrize("key", ["../x", "a/b", "", ".hidden", "x" * 300, "a\0b"])
def test_an_id_that_is_no_file_name_touches_nothing(tmp_path: Path, key: str) -> None:
    places = Places(tmp_path)
    places.make()
    with pytest.raises(UnsafeId):
        places.make_work(key)  # type: ignore[arg-type]
    with pytest.raises(UnsafeId):
        places.drop_log(key)  # type: ignore[arg-type]


def test_old_working_directories_go_and_those_in_use_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.places.KEPT_WORK_DIRS", 2)
    places = Places(tmp_path)
    places.make()
    for i in range(5):
        path = Path(places.make_work(f"j.{i}.1"))  # type: ignore[arg-type]
        (path / "result").write_text("x")
        os.utime(path, (i, i))
    places.prune_work({"j.0.1"})
    assert sorted(path.name for path in places.work.iterdir()) == ["j.0.1", "j.3.1", "j.4.1"]


def test_one_agent_a_state_directory(tmp_path: Path) -> None:
    with StateLock(tmp_path), pytest.raises(AlreadyRunning, match="already uses"), StateLock(tmp_path):
        pass
    with StateLock(tmp_path):
        pass
