"""A real spawner: how tasks start, how they end, and that nothing of them is left."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.spawner.procs import look
from tests.fakes.spawner_client import PATH, SpawnerClient, spawner
from tests.support import eventually

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def client(tmp_path: Path) -> Iterator[SpawnerClient]:
    with spawner(tmp_path) as made:
        yield made


@pytest.fixture(params=[(), ("--no-cgroups",)], ids=["groups", "marks"])
def either(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[SpawnerClient]:
    """One that has control groups, if this machine lets it, and one that does not want any."""
    with spawner(tmp_path, *request.param) as made:
        yield made


def gone(pid: int) -> bool:
    process = look(pid)
    return process is None or not process.alive


def test_exit_code_output_and_size(client: SpawnerClient) -> None:
    client.spawn("j.0.1", "echo out; echo err >&2; exit 7")
    ended = client.next("exited")
    assert (ended["code"], ended["cause"], ended["reason"], ended["log_bytes"]) == (7, "exit", "", 8)
    assert client.output("j.0.1") == "out\nerr\n"


def test_a_signal_becomes_128_plus_its_number(client: SpawnerClient) -> None:
    client.spawn("j.0.1", "kill -SEGV $$")
    assert client.next("exited")["code"] == 139


def test_a_task_starts_as_from_a_shell(client: SpawnerClient) -> None:
    """Own session, no ignored or blocked signals, no open files but the three, standard input empty."""
    status = "grep -E '^Sig(Blk|Ign)' /proc/self/status"
    client.spawn("j.0.1", f"{status}; ls /proc/self/fd | wc -l; wc -c; ps -o sid= -p $$ | tr -d ' '; echo $$")
    client.next("exited")
    *signals, files, stdin, session, pid = client.output("j.0.1").split("\n")[:-1]
    # But for signals 32 and 33, which are glibc's own and which its posix_spawn ignores.
    assert {int(line.split()[1], 16) & ~0x180000000 for line in signals} == {0}
    # Three and the one that `ls` itself opens.
    assert (files, stdin) == ("4", "0")
    assert session == pid


@pytest.mark.parametrize(
    ("fields", "code", "reason"),
    [
        ({"argv": ["no-such"]}, 127, f"'no-such' could not be started: no such program in PATH ({PATH})"),
        ({"argv": ["/proc/self/status"]}, 126, "'/proc/self/status' could not be started: Permission denied"),
        ({"argv": ["/nowhere/x"]}, 127, "'/nowhere/x' could not be started: No such file or directory"),
        ({"cwd": "/nowhere"}, None, "working directory '/nowhere': No such file or directory"),
        ({"argv": ["a\0b"]}, None, "'a\\x00b' could not be started: empty, or with a null character"),
        ({"argv": []}, None, "'' could not be started: empty, or with a null character"),
        ({"cwd": "/\0"}, None, "working directory '/\\x00': embedded null byte"),
        ({"env": {"A=B": "c"}}, None, "'sh' could not be started: illegal environment variable name"),
    ],
)
def test_what_cannot_start_says_why(
    client: SpawnerClient, fields: dict[str, object], code: int | None, reason: str
) -> None:
    client.spawn("j.0.1", "true", **fields)
    ended = client.next("exited")
    assert (ended["cause"], ended["code"], ended["reason"]) == ("start_failed", code, reason)


def test_an_order_repeated_runs_once(client: SpawnerClient) -> None:
    client.spawn("j.0.1", "echo ran")
    client.spawn("j.0.1", "echo ran")
    client.next("exited")
    client.spawn("j.0.1", "echo ran")
    client.spawn("k.0.1", "true")
    client.next("exited", "k.0.1")
    assert client.output("j.0.1") == "ran\n"


@pytest.mark.parametrize(
    "stray",
    [
        "sleep 1000 & echo $!",
        "setsid sleep 1000 & echo $!",
        "(trap '' TERM; sleep 1000; sleep 1000) & echo $!",
        # Daemonised: forked twice, its own session, its parent gone.
        "sh -c 'setsid sh -c \"echo \\$\\$; exec sleep 1000\" &'; sleep 0.3",
        # The same without its environment, in which only its parentage tells whose it was.
        "sh -c 'env -i setsid sh -c \"echo \\$\\$; exec sleep 1000\" &'; sleep 0.3",
    ],
)
def test_the_end_of_the_main_process_ends_its_whole_tree(either: SpawnerClient, stray: str) -> None:
    either.spawn("j.0.1", f"{stray}; exit 3")
    ended = either.next("exited")
    assert (ended["code"], ended["cause"]) == (3, "exit")
    assert gone(int(either.output("j.0.1")))


def test_a_stray_of_one_task_is_not_taken_for_anothers(either: SpawnerClient) -> None:
    either.spawn("j.0.1", "setsid sh -c 'echo $$; exec sleep 1000' & sleep 1000")
    stray = int(either.output("j.0.1"))
    either.spawn("k.0.1", "sleep 1000 & exit 0")
    either.next("exited", "k.0.1")
    assert not gone(stray)
    either.stop("j.0.1", grace=0)
    either.next("exited", "j.0.1")
    assert gone(stray)


def test_a_daemon_without_its_environment_is_known_among_many_tasks(either: SpawnerClient) -> None:
    stray = "sh -c 'env -i setsid sh -c \"echo \\$\\$; exec sleep 1000\" &'"
    either.spawn("j.0.1", f"{stray}; sleep 1000")
    either.spawn("k.0.1", f"{stray}; sleep 1000")
    mine, other = int(either.output("j.0.1")), int(either.output("k.0.1"))
    either.stop("j.0.1", grace=0)
    either.next("exited")
    assert gone(mine)
    assert not gone(other)


def test_what_forks_and_ends_without_a_pause_is_ended(either: SpawnerClient) -> None:
    """A process that is never there when one looks: its child is, and then that one's."""
    either.spawn("j.0.1", "f() { echo >&3; f & }; exec 3>>beats; f; sleep 0.3; exit 5")
    assert either.next("exited")["code"] == 5
    beats = either.directory / "beats"
    size = beats.stat().st_size
    either.spawn("k.0.1", "sleep 0.3")
    either.next("exited", "k.0.1")
    assert size == beats.stat().st_size > 10


def test_stop_sends_the_chosen_signal_and_waits(client: SpawnerClient) -> None:
    client.spawn("j.0.1", "trap 'echo got; exit 9' USR1; echo ready; while :; do sleep 0.05; done")
    client.output("j.0.1")
    client.stop("j.0.1", "USR1")
    client.next("stopping")
    ended = client.next("exited")
    assert (ended["code"], ended["cause"], ended["reason"]) == (9, "stopped", "asked to")
    assert client.output("j.0.1").endswith("got\n")


def test_what_does_not_heed_is_killed_after_the_grace(either: SpawnerClient) -> None:
    either.spawn(
        "j.0.1", "trap '' TERM; (trap '' TERM; echo $$; while :; do sleep 1; done) & wait; while :; do wait; done"
    )
    either.output("j.0.1")
    either.stop("j.0.1", grace=0.3)
    ended = either.next("exited")
    assert (ended["code"], ended["cause"]) == (137, "stopped")


def test_a_second_stop_can_only_hurry(client: SpawnerClient) -> None:
    client.spawn("j.0.1", "trap '' TERM; echo ready; while :; do sleep 0.05; done")
    client.output("j.0.1")
    client.stop("j.0.1", grace=1000)
    client.stop("j.0.1", grace=0)
    assert client.next("exited")["code"] == 137


def test_max_duration(client: SpawnerClient) -> None:
    client.spawn("j.0.1", "sleep 1000", limit=0.2)
    ended = client.next("exited")
    assert (ended["code"], ended["cause"], ended["reason"]) == (143, "max_duration", "max_duration reached")


def test_an_extra_process_is_part_of_the_tree(either: SpawnerClient) -> None:
    either.spawn("j.0.1", "echo main; sleep 1000")
    either.output("j.0.1")
    env = {"PATH": PATH, "K": "v"}
    extra = {"op": "exec", "id": "j.0.1", "argv": ["sh", "-c", "echo extra; exit 4"], "env": env, "cwd": "/"}
    either.send({**extra, "key": "1"})
    assert either.next("exec_ended") == {"ev": "exec_ended", "id": "j.0.1", "key": "1", "code": 4, "reason": ""}
    # Like MPI's daemon: in the background, in its own session, long after its starter has ended.
    either.send({**extra, "key": "2", "argv": ["sh", "-c", "setsid sh -c 'echo $$; exec sleep 1000' &"]})
    assert either.next("exec_ended")["code"] == 0
    daemon = int(eventually(lambda: either.output("j.0.1").split()[2:], what="pid")[0])
    either.stop("j.0.1")
    either.next("exited")
    assert gone(daemon)
    either.send({**extra, "key": "3"})
    assert either.next("exec_ended")["reason"] == "j.0.1 is not running"


def test_a_flood_of_tasks_is_told_completely(client: SpawnerClient) -> None:
    for i in range(200):
        client.spawn(f"j.{i}.1", "exit 5")
    assert {client.next("exited")["id"] for _ in range(200)} == {f"j.{i}.1" for i in range(200)}
