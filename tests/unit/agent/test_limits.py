"""What a node may use beside memory: processors, processes, /dev/shm; held by the real kernel, or said not to be."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.bounds import Bounds
from agent.containment import limits
from agent.spawner import shm
from agent.spawner.group import CPU, PIDS, UNIFIED, Group
from agent.spawner.hierarchies import LIMITS, Hierarchy, usable
from tests.fakes.agent_coordinator import any_node, types
from tests.fakes.spawner_client import SpawnerClient, spawner
from tests.support import eventually, missing
from tests.unit.agent.test_daemon import host

pytestmark = pytest.mark.timeout(90)


@pytest.fixture
def client(tmp_path: Path) -> Iterator[SpawnerClient]:
    found, reason = usable(f"test-{os.getpid()}")
    for hierarchy in found:
        os.rmdir(hierarchy.base)
    if not {CPU, PIDS} <= {name for hierarchy in found for name in hierarchy.controllers}:
        missing("writable control groups with cpu and pids", f"run the tests as root, with cgroups mounted ({reason})")
    with spawner(tmp_path) as made:
        yield made


# Forks for as long as it may, then says how often it could; what it forked waits.
BOMB = """
import os, time
n = 0
try:
    while n < 1000:
        if not os.fork(): time.sleep(1000)
        n += 1
except OSError: pass
print(n)
"""


def test_a_fork_bomb_gets_no_further_than_its_limit(client: SpawnerClient) -> None:
    client.spawn("j.0.1", "python3", "-c", BOMB, pids=40)
    client.next("started", "j.0.1")
    forked = int(client.output("j.0.1"))
    # One of them was the program itself, one may be the spawner, which had not yet left.
    assert 36 <= forked <= 39
    client.end_of("j.0.1")
    # The group is used again; what it held its last task to it holds no other one to.
    client.spawn("k.0.1", "python3", "-c", BOMB.replace("1000:", "60:"), pids=400)
    assert client.output("k.0.1") == "60\n"


def test_processors_are_weighed_and_bounded_as_ordered(client: SpawnerClient) -> None:
    client.spawn("j.0.1", "sleep 1000", cpus=2, hard=True)
    client.spawn("k.0.1", "sleep 1000", cpus=3, hard=False)
    for key, quota, shares in (("j.0.1", "200000", "2048"), ("k.0.1", "-1", "3072")):
        client.next("started", key)
        path = Group(client.record(key)["group"]).paths.get(CPU)
        if path is None:
            missing("version 1's cpu controller", "run the tests where it is mounted")
        assert Path(f"{path}/cpu.cfs_quota_us").read_text().strip() == quota
        assert Path(f"{path}/cpu.shares").read_text().strip() == shares


def test_version_2_is_told_the_same_in_its_own_words(tmp_path: Path) -> None:
    for name in ("cpu.weight", "cpu.max", "pids.max"):
        (tmp_path / name).write_text("")
    group = Group({UNIFIED: str(tmp_path)})
    assert group.limit_cpu(2, hard=True)
    assert group.limit_pids(512)
    told = [(tmp_path / name).read_text() for name in ("cpu.weight", "cpu.max", "pids.max")]
    assert told == ["80", "200000 100000", "512"]
    assert group.limit_cpu(1000, hard=False)
    assert (tmp_path / "cpu.weight").read_text() == "10000"


def test_a_delegated_group_hands_down_what_it_has(tmp_path: Path) -> None:
    """As files, which do not refuse: what the kernel does with them is tested where it has them."""
    base = tmp_path / "unit" / "rallypoint-x"
    base.mkdir(parents=True)
    for folder in (base.parent, base):
        (folder / "cgroup.controllers").write_text("cpu memory pids")
        (folder / "cgroup.subtree_control").write_text("")
    (base / "cgroup.controllers").write_text("cpu memory")
    hierarchy = Hierarchy(UNIFIED, str(base.parent / "supervisor"), str(base))
    assert hierarchy.make() == ""
    assert hierarchy.controllers == {"cpu", "memory"}
    assert set(LIMITS) > hierarchy.controllers


def test_a_node_gets_a_shm_of_the_size_that_it_asks_for(tmp_path: Path) -> None:
    if shm.hindrance():
        missing("the right to mount a tmpfs", "run the tests as root")
    mine = Path(f"/dev/shm/test-{os.getpid()}")

    async def scenario() -> None:
        async with host(tmp_path) as (fake, _):
            fill = f"df -B1 --output=size /dev/shm | tail -1; ls {mine}; head -c 3000000 /dev/zero > /dev/shm/x"
            small = types.Resources(shm_bytes=2 << 20)
            fake.want(any_node("j.0.1", "sh", "-c", fill, resources=small), any_node("k.0.1", "ls", str(mine)))
            assert (await fake.ended("j.0.1")).exit_code != 0
            said = fake.logs["j.0.1"].decode()
            assert said.split()[0] == str(2 << 20)
            assert "No space left on device" in said
            assert "cannot access" in said
            # One that asks for none shares the host's; and the spawner has come back from where it was.
            assert (await fake.ended("k.0.1")).exit_code == 0
            told = fake.opened[-1].hardware.limits
            assert told.shm.by == "a tmpfs of its own"

    mine.touch()
    try:
        asyncio.run(scenario())
    finally:
        mine.unlink()
    assert not Path("/dev/shm/x").exists()


def test_one_more_process_of_a_node_has_its_shm(client: SpawnerClient) -> None:
    if shm.hindrance():
        missing("the right to mount a tmpfs", "run the tests as root")
    client.spawn("j.0.1", "echo mine > /dev/shm/word; echo; exec sleep 1000", shm=1 << 20)
    client.output("j.0.1")
    order = {"op": "exec", "id": "j.0.1", "key": "1", "argv": ["cat", "/dev/shm/word"], "env": {}, "cwd": "/"}
    client.send({**order, "env": {"PATH": "/usr/bin:/bin"}, "shm": 1 << 20})
    assert client.next("exec_ended")["code"] == 0
    eventually(lambda: "mine" in client.output("j.0.1"), what="the word")


def test_a_node_that_makes_itself_another_world_gets_nothing_of_root_into_it(client: SpawnerClient) -> None:
    """The spawner once followed a node into a mount namespace of the node's own making, as root, and opened files."""
    if shm.hindrance():
        missing("the right to mount a tmpfs", "run the tests as root")
    bait = client.directory / "bait"
    bait.write_text("secret")
    log = client.directory / "j.0.1.log"
    trap = f"mount --bind {bait} {log}; echo set; exec sleep 1000"
    client.spawn("j.0.1", f"exec unshare --user --map-root-user --mount sh -c '{trap}'", shm=1 << 20)
    eventually(lambda: "set" in client.output("j.0.1"), what="the trap")
    order = {"op": "exec", "id": "j.0.1", "key": "1", "argv": ["echo", "word"], "env": {}, "cwd": "/"}
    client.send({**order, "env": {"PATH": "/usr/bin:/bin"}, "shm": 1 << 20, "as": [65534, 65534, []]})
    ended = client.next("exec_ended")
    assert (ended["code"], "is in a mount namespace of its own making" in ended["reason"]) == (None, True)
    assert (bait.read_text(), bait.stat().st_uid) == ("secret", os.geteuid())


def test_what_is_held_in_words() -> None:
    held = {"limits": {"cpu": ["cgroup v2", ""], "memory": ["", "why"], "pids": ["cgroup v1", ""], "shm": ["", "no"]}}
    assert limits(held, "weight")["cpu"] == ("cgroup v2, by weight", "")
    assert limits(held, "hard")["cpu"] == ("cgroup v2, by quota", "")
    assert limits(held, "off")["cpu"] == ("", "cpu_limit is off in the agent's settings")
    assert limits(held, "hard")["memory"] == ("", "why")
    # A spawner of an earlier release says nothing of limits.
    assert limits({"trees": "cgroup v2"}, "hard") == {}
    assert Bounds().shm is False
