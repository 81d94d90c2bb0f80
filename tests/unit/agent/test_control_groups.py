"""Real tasks in real control groups: what gets away from everything else does not get out of these."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from agent.spawner import memory
from agent.spawner.group import FREEZER, MEMORY, UNIFIED, Group
from agent.spawner.hierarchies import usable
from agent.spawner.procs import look
from tests.fakes.spawner_client import SpawnerClient, spawner
from tests.support import eventually, missing

pytestmark = pytest.mark.timeout(60)

# A process that is never there when one looks, in a session of its own each time: only a group holds it.
COMET = 'f() { echo >&3; setsid sh -c "$0" "$0" & }; f'
EATER = "x = bytearray(300 << 20); print(len(x))"


def gone(pid: int) -> bool:
    process = look(pid)
    return process is None or not process.alive


@pytest.fixture(scope="module", autouse=True)
def _writable() -> None:
    probe = f"test-{os.getpid()}"
    found, reason = usable(probe)
    for hierarchy in found:
        os.rmdir(hierarchy.base)
    if not any(hierarchy.memory for hierarchy in found):
        missing("writable control groups with memory", f"run the tests as root, with cgroups mounted ({reason})")


@pytest.fixture
def client(tmp_path: Path) -> Iterator[SpawnerClient]:
    with spawner(tmp_path) as made:
        yield made


def group_of(client: SpawnerClient, key: str) -> Group:
    """The group of a task, as the journal has it."""
    return Group(client.record(key)["group"])


def test_a_task_is_born_into_a_group_of_its_own(client: SpawnerClient) -> None:
    for key in ("j.0.1", "k.0.1"):
        client.spawn(key, "cat /proc/self/cgroup; echo; exec sleep 1000")
        client.output(key)
    pids = {key: client.record(key)["pid"] for key in ("j.0.1", "k.0.1")}
    # The spawner was there itself, and leaves once it has told of the birth.
    alone = {key: {pid} for key, pid in pids.items()}
    eventually(lambda: {key: set(group_of(client, key).processes()) for key in pids} == alone, what="only the tasks")
    assert client.output("j.0.1") != client.output("k.0.1")


@pytest.mark.parametrize("crash", ["", "kill_spawner", "kill"])
def test_what_nothing_else_holds_ends_with_its_task(client: SpawnerClient, crash: str) -> None:
    """Also when the task belongs to a spawner that adopted it."""
    client.spawn("j.0.1", f"exec 3>>beats; sh -c '{COMET}' '{COMET}'; exec sleep 1000")
    beats = client.directory / "beats"
    eventually(lambda: beats.exists() and beats.stat().st_size > 20, what="a comet")
    if crash:
        getattr(client, crash)()
    if crash == "kill":
        client.start()
    client.stop("j.0.1", grace=0)
    client.end_of("j.0.1")
    size = beats.stat().st_size
    client.spawn("k.0.1", "sleep 0.3")
    client.next("exited", "k.0.1")
    assert beats.stat().st_size == size


def test_a_fork_bomb_is_defused(client: SpawnerClient) -> None:
    bomb = "b() { [ $1 -gt 7 ] && exec sleep 1000; b $(($1 + 1)) & b $(($1 + 1)) & wait; }; b 0"
    client.spawn("j.0.1", bomb)
    client.next("started")
    group = group_of(client, "j.0.1")
    eventually(lambda: len(group.processes()) > 60, what="many processes")
    client.stop("j.0.1", grace=0)
    client.next("exited")
    assert group.processes() == {}


@pytest.mark.parametrize("kind", [UNIFIED, FREEZER, MEMORY])
def test_each_kind_of_group_kills_all_that_is_in_it(tmp_path: Path, kind: str) -> None:
    with group(kind) as made, (tmp_path / "pids").open("w") as pids:
        script = "echo 0 > \"$0/cgroup.procs\"; for i in 1 2 3; do setsid sh -c 'echo $$; exec sleep 1000' & done; wait"
        process = subprocess.Popen(["sh", "-c", script, made.paths[kind]], stdout=pids)
        eventually(lambda: len((tmp_path / "pids").read_text().splitlines()) == 3, what="three children")
        made.kill()
        assert process.wait(10) == -signal.SIGKILL
        children = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
        eventually(lambda: all(gone(pid) for pid in children), what="their end")


@contextmanager
def group(kind: str) -> Iterator[Group]:
    """An empty group of one kind."""
    roots = {UNIFIED: ("/sys/fs/cgroup/unified", "/sys/fs/cgroup")}.get(kind, (f"/sys/fs/cgroup/{kind}",))
    for root in roots:
        path = f"{root}/test-{os.getpid()}-{kind}"
        with suppress(OSError):
            os.mkdir(path)
            if os.path.exists(f"{path}/cgroup.procs"):
                break
            os.rmdir(path)
    else:
        missing(f"control groups of kind {kind}", "run the tests as root where they are mounted")
    made = Group({kind: path})
    try:
        yield made
    finally:
        made.kill()
        eventually(made.remove, what="end of the group")


def test_groups_are_removed_also_those_of_earlier_runs(client: SpawnerClient, tmp_path: Path) -> None:
    client.spawn("j.0.1", "sleep 1000")
    pid = client.next("started")["pid"]
    held = group_of(client, "j.0.1")
    client.kill()
    journal = tmp_path / "spawner.journal"
    journal.write_text("")
    client.start()
    # Nobody knows it any more: it runs for nobody.
    eventually(lambda: gone(pid), what="end of the forgotten task")
    client.spawn("k.0.1", "sleep 1000")
    client.next("started")
    base = os.path.dirname(next(iter(group_of(client, "k.0.1").paths.values())))
    client.stop("k.0.1", grace=0)
    client.next("exited")
    client.disconnect()
    assert client.process is not None
    assert client.process.wait(20) == 0
    assert not held.exists()
    assert not os.path.exists(base)


@pytest.mark.parametrize(
    "script",
    [
        # The main process itself, a child of its, and one whose parent makes the best of it.
        f"exec {sys.executable} -c '{EATER}'",
        f"{sys.executable} -c '{EATER}'; exit 1",
        f"{sys.executable} -c '{EATER}' | cat; exit 3",
    ],
)
def test_a_task_over_its_limit_says_so_with_limit_and_peak(client: SpawnerClient, script: str) -> None:
    client.spawn("j.0.1", script, memory=64 << 20)
    ended = client.next("exited")
    assert (ended["cause"], ended["reason"]) == ("out_of_memory", "out of memory: limit 64 MB, peak 64 MB")
    assert ended["code"] in (137, 1, 3)


def test_a_killed_child_that_its_parent_makes_up_for_is_no_failure(client: SpawnerClient) -> None:
    client.spawn("j.0.1", f"{sys.executable} -c '{EATER}' || exit 0", memory=64 << 20)
    assert client.next("exited")["cause"] == "exit"


def test_one_that_ends_itself_with_sigkill_did_not_run_out_of_memory(client: SpawnerClient) -> None:
    client.spawn("j.0.1", "kill -9 $$", memory=64 << 20)
    client.spawn("k.0.1", "kill -9 $$")
    for key in ("j.0.1", "k.0.1"):
        ended = client.next("exited", key)
        assert (ended["cause"], ended["code"], ended["reason"]) == ("exit", 137, "")


def test_no_task_pays_for_the_one_before_it(client: SpawnerClient) -> None:
    for number in range(6):
        client.spawn(f"j.{number}.1", f"{sys.executable} -c '{EATER}'", memory=64 << 20)
        assert client.next("exited")["cause"] == "out_of_memory"
        client.spawn(f"k.{number}.1", "exit 1")
        assert client.next("exited")["cause"] == "exit"
        client.spawn(f"l.{number}.1", f"{sys.executable} -c '{EATER}'")
        assert client.next("exited")["code"] == 0


def test_a_task_killed_in_want_of_the_hosts_memory_says_so(tmp_path: Path) -> None:
    """Without any group of its own: the kernel's log is what tells. The "host" is a group around the spawner."""
    if not os.access(memory.KMSG, os.R_OK):
        missing("the kernel's log", "run the tests as root")
    with group(MEMORY) as host, spawner(tmp_path, "--no-cgroups") as client:
        host.limit_memory(128 << 20)
        spawner_pid = client.spawner_pid()
        Path(f"{host.paths[MEMORY]}/cgroup.procs").write_text(str(spawner_pid))
        client.spawn("j.0.1", f"exec {sys.executable} -c '{EATER}'")
        ended = client.next("exited")
        assert (ended["cause"], ended["code"]) == ("out_of_memory", 137)
        assert str(ended["reason"]).startswith(
            "out of memory: the host had no more to give; no limit of its own, peak 1"
        )


def test_without_groups_all_is_as_it_was(tmp_path: Path) -> None:
    with spawner(tmp_path, "--no-cgroups") as client:
        client.spawn("j.0.1", "cat /proc/self/cgroup; exit 3", memory=64 << 20)
        assert client.next("exited")["code"] == 3
        assert client.output("j.0.1") == Path("/proc/self/cgroup").read_text()
        assert client.record("j.0.1")["group"] is None


ROBBED = """
import os
from agent.spawner.nursery import Nursery

nursery = Nursery(f"test-{os.getpid()}", True)
for hierarchy in nursery._hierarchies:
    os.rmdir(hierarchy.base)
group = nursery.waiting(fresh=True)
print(group is not None and group.limit_memory(1 << 26))
nursery.close()
"""


def test_a_place_for_groups_that_another_agent_took_for_left_behind_is_made_again() -> None:
    done = subprocess.run([sys.executable, "-c", ROBBED], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout == "True\n"
