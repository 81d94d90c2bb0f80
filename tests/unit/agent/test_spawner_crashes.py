"""What survives the death of the daemon, of the spawner, and of contact with the coordinator."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from agent.spawner import procs, wire
from agent.spawner.journal import Journal
from agent.spawner.keeper import AFTER_ENDED, LEASE_ENDED
from agent.spawner.procs import look
from tests.fakes.spawner_client import spawner
from tests.support import eventually

pytestmark = pytest.mark.timeout(60)


def test_tasks_outlive_the_daemon_and_it_hears_of_their_ends(tmp_path: Path) -> None:
    with spawner(tmp_path) as client:
        os.mkfifo(tmp_path / "gate")
        client.spawn("j.0.1", "read x < gate; exit 6", meta={"rank": 0})
        pid = client.next("started")["pid"]
        client.spawn("k.0.1", "sleep 1000")
        client.next("started", "k.0.1")
        client.disconnect()
        (tmp_path / "gate").write_text("go\n")
        eventually(lambda: look(pid) is None, what="end of the task")
        client.connect()
        assert client.snapshot["j.0.1"]["code"] == 6
        assert client.snapshot["j.0.1"]["meta"] == {"rank": 0}
        assert "at_end" not in client.snapshot["k.0.1"]


def test_it_leaves_when_there_is_neither_task_nor_daemon_and_forgets_nothing(tmp_path: Path) -> None:
    with spawner(tmp_path) as client:
        client.spawn("j.0.1", "exit 6")
        client.spawn("k.0.1", "exit 7")
        client.next("exited")
        client.next("exited")
        client.send({"op": "forget", "id": "k.0.1"})
        client.disconnect()
        assert client.process is not None
        assert client.process.wait(10) == 0
        client.start()
        assert {key: record["code"] for key, record in client.snapshot.items()} == {"j.0.1": 6}


def test_a_new_spawner_finds_living_tasks_and_says_what_it_cannot_know(tmp_path: Path) -> None:
    with spawner(tmp_path) as client:
        client.spawn("dead.0.1", "sleep 1000")
        client.spawn("live.0.1", "setsid sh -c 'echo $$; exec sleep 1000' & echo main; sleep 1000")
        pids = {key: client.next("started", key)["pid"] for key in ("dead.0.1", "live.0.1")}
        eventually(lambda: len(client.output("live.0.1").split()) == 2, what="child's pid")
        child = next(int(word) for word in client.output("live.0.1").split() if word.isdigit())
        client.kill()
        os.kill(pids["dead.0.1"], signal.SIGKILL)
        eventually(lambda: not getattr(look(pids["dead.0.1"]), "alive", False), what="its end")
        client.start()
        lost = client.end_of("dead.0.1")
        assert (lost["cause"], lost["code"]) == ("host", None)
        assert str(lost["reason"]).startswith("exit status lost")
        assert "at_end" not in client.snapshot["live.0.1"]
        client.stop("live.0.1")
        ended = client.next("exited")
        assert (ended["cause"], ended["code"]) == ("stopped", None)
        assert not getattr(look(child), "alive", False)


def test_the_end_of_an_adopted_task_is_noticed_and_what_it_leaves_is_ended(tmp_path: Path) -> None:
    with spawner(tmp_path) as client:
        client.spawn("j.0.1", "setsid sh -c 'echo $$; exec sleep 1000' & sleep 1000")
        pid = client.next("started")["pid"]
        child = int(client.output("j.0.1"))
        client.kill()
        client.start()
        os.kill(pid, signal.SIGKILL)
        assert client.next("exited")["cause"] == "host"
        assert not getattr(look(child), "alive", False)


def test_another_boot_is_noticed(tmp_path: Path) -> None:
    with spawner(tmp_path) as client:
        client.spawn("j.0.1", "echo ab; exec sleep 1000")
        pid = client.next("started")["pid"]
        client.output("j.0.1")
        client.kill()
        os.kill(pid, signal.SIGKILL)
        journal = tmp_path / "spawner.journal"
        journal.write_text(journal.read_text().replace(procs.boot_id(), "another"))
        client.start()
        ended = client.snapshot["j.0.1"]
        assert (ended["cause"], ended["reason"], ended["log_bytes"]) == ("host", "lost: host rebooted", 3)


def test_exit_codes_survive_the_spawner(tmp_path: Path) -> None:
    """One task ends while there is no spawner, one under the next, one under the one after that."""
    with spawner(tmp_path) as client:
        pids = []
        for rank in range(3):
            os.mkfifo(tmp_path / f"gate{rank}")
            client.spawn(f"j.{rank}.1", f"read x < gate{rank}; exit 1{rank}")
            pids.append(client.next("started")["pid"])
        assert client.process is not None
        # The reaper is held up, so that no spawner comes before the first task has ended.
        client.process.send_signal(signal.SIGSTOP)
        spawner_pid = client.spawner_pid()
        assert spawner_pid is not None
        os.kill(spawner_pid, signal.SIGKILL)
        (tmp_path / "gate0").write_text("go\n")
        eventually(lambda: not getattr(look(pids[0]), "alive", False), what="end of the first task")
        client.process.send_signal(signal.SIGCONT)
        client.disconnect()
        eventually(lambda: client.spawner_pid() not in (None, spawner_pid), what="a new spawner")
        client.connect()
        assert outcome(client.end_of("j.0.1")) == (10, "exit", "")
        (tmp_path / "gate1").write_text("go\n")
        assert outcome(client.next("exited", "j.1.1")) == (11, "exit", "")
        client.kill_spawner()
        (tmp_path / "gate2").write_text("go\n")
        assert outcome(client.end_of("j.2.1")) == (12, "exit", "")


def outcome(end: dict[str, object]) -> tuple[object, object, object]:
    return end["code"], end["cause"], end["reason"]


def test_an_exit_code_survives_a_spawner_that_dies_while_it_ends_the_rest(tmp_path: Path) -> None:
    with spawner(tmp_path) as client:
        client.spawn("j.0.1", "setsid sh -c 'trap \"\" TERM; echo $$; sleep 1000; sleep 1000' & sleep 0.3; exit 9")
        client.output("j.0.1")
        journal = tmp_path / "spawner.journal"
        eventually(lambda: '"ended"' in journal.read_text(), what="end of the main process")
        client.kill()
        client.start()
        assert outcome(client.end_of("j.0.1")) == (9, "exit", "")
        assert not getattr(look(int(client.output("j.0.1"))), "alive", False)


def test_the_reapers_death_ends_nothing(tmp_path: Path) -> None:
    with spawner(tmp_path) as client:
        client.spawn("j.0.1", "sleep 1000")
        client.next("started")
        assert client.process is not None
        spawner_pid = client.spawner_pid()
        assert spawner_pid is not None
        client.process.kill()
        client.process.wait()
        client.spawn("k.0.1", "exit 4")
        assert client.next("exited")["code"] == 4
        client.stop("j.0.1", grace=0)
        assert client.next("exited")["code"] == 137
        client.disconnect()
        eventually(lambda: not getattr(look(spawner_pid), "alive", False), what="end of the idle spawner")


@pytest.mark.parametrize("options", [(), ("--no-cgroups",)])
@pytest.mark.parametrize("how", ["kill_spawner", "kill"])
def test_strays_of_an_adopted_task_end_with_it(tmp_path: Path, how: str, options: tuple[str, ...]) -> None:
    """Daemonised, in a session of its own and without its environment, while another task runs as well."""
    stray = "sh -c 'env -i setsid sh -c \"echo \\$\\$; exec sleep 1000\" &'"
    with spawner(tmp_path, *options) as client:
        for key in ("j.0.1", "k.0.1"):
            client.spawn(key, f"{stray}; exec sleep 1000")
        mine, other = (int(client.output(key)) for key in ("j.0.1", "k.0.1"))
        getattr(client, how)()
        if how == "kill":
            client.start()
        client.stop("j.0.1", grace=0)
        client.next("exited", "j.0.1")
        assert not getattr(look(mine), "alive", False)
        assert getattr(look(other), "alive", False)


def test_a_pid_that_was_lent_on_is_not_taken_for_the_task(tmp_path: Path) -> None:
    with spawner(tmp_path) as client:
        client.spawn("j.0.1", "sleep 1000")
        client.next("started")
        client.spawn("k.0.1", "true")
        client.next("exited")
        client.kill()
        lines = (tmp_path / "spawner.journal").read_text().splitlines()
        stranger = [line for line in lines if json.loads(line)["id"] == "k.0.1" and '"starting"' in line]
        mine = {"kind": "started", "id": "k.0.1", "pid": os.getpid(), "start": 1}
        (tmp_path / "spawner.journal").write_text("\n".join([*stranger, json.dumps(mine), ""]))
        client.start()
        assert client.end_of("k.0.1")["cause"] == "host"


def test_only_one_spawner_serves_a_directory(tmp_path: Path) -> None:
    with spawner(tmp_path):
        command = [sys.executable, "-m", "agent.spawner", "--state-dir", str(tmp_path)]
        second = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
        assert (second.returncode, second.stderr) == (1, f"another spawner serves {tmp_path}\n")


def test_the_lease_ends_work_without_any_daemon(tmp_path: Path) -> None:
    with spawner(tmp_path) as client:
        client.send({"op": "lease", "until": wire.now() + 1.5, "grace": 0.2})
        client.spawn("j.0.1", "trap '' TERM; echo ready; while :; do sleep 0.05; done")
        client.output("j.0.1")
        client.disconnect()
        assert client.process is not None
        client.process.wait(20)
        client.start()
        ended = client.snapshot["j.0.1"]
        assert (ended["cause"], ended["code"]) == ("host", 137)
        assert "longer than its lease" in str(ended["reason"])


def test_the_lease_outlives_the_spawner_too(tmp_path: Path) -> None:
    with spawner(tmp_path) as client:
        client.send({"op": "lease", "until": wire.now() + 2, "grace": 0.2})
        client.spawn("j.0.1", "sleep 1000")
        client.next("started")
        client.kill()
        client.start()
        assert client.next("exited")["cause"] == "host"


def test_what_outlived_its_lease_unwatched_is_stopped_before_a_new_one_counts(tmp_path: Path) -> None:
    """Daemon and spawner were both dead: the node may run elsewhere by now, whatever a new session says."""
    with spawner(tmp_path) as client:
        ends = wire.now() + 1.5
        client.send({"op": "lease", "until": ends, "grace": 0.2, "since": ends - 1.5})
        for key, after in (("j.0.1", 0.0), ("kept.0.1", None)):
            client.spawn(key, "sleep 1000", after=after)
            client.next("started", key)
        client.kill()
        eventually(lambda: wire.now() > ends, what="the end of the lease")
        client.start()
        client.send({"op": "lease", "until": wire.now() + 100, "grace": 0.2, "since": wire.now()})
        assert client.end_of("j.0.1")["reason"] == LEASE_ENDED
        assert "at_end" not in client.snapshot["kept.0.1"]
        client.stop("kept.0.1", grace=0)
        client.next("exited", "kept.0.1")


def test_what_is_kept_outlasts_the_lease_and_only_that(tmp_path: Path) -> None:
    with spawner(tmp_path) as client:
        now = wire.now()
        client.send({"op": "lease", "until": now + 1.0, "grace": 0.2, "since": now})
        for key, after in (("ends.0.1", 0.0), ("later.0.1", 2.0), ("kept.0.1", None)):
            client.spawn(key, "sleep 1000", after=after)
            client.next("started", key)
        first, second = client.next("exited"), client.next("exited")
        assert [first["id"], second["id"]] == ["ends.0.1", "later.0.1"]
        assert (first["reason"], second["reason"]) == (LEASE_ENDED, AFTER_ENDED.format(2.0))
        assert float(second["at"]) - float(first["at"]) > 0.5
        client.kill()
        client.start()
        record = client.snapshot["kept.0.1"]
        assert (record["after"], "cause" in record) == (None, False)
        # Any stop ends it: what is asked for, or a host that is not wanted any more.
        client.stop("kept.0.1")
        assert client.next("exited")["cause"] == "stopped"


def test_how_long_a_task_is_kept_is_known_to_the_next_spawner(tmp_path: Path) -> None:
    with spawner(tmp_path) as client:
        now = wire.now()
        client.send({"op": "lease", "until": now + 1.0, "grace": 0.2, "since": now})
        client.spawn("j.0.1", "sleep 1000", after=3.0)
        client.next("started")
        client.kill()
        client.start()
        assert client.end_of("j.0.1")["reason"] == AFTER_ENDED.format(3.0)
        assert wire.now() >= now + 3.0


def test_the_lease_and_the_journal_of_an_earlier_release_are_understood(tmp_path: Path) -> None:
    """It knew nothing of keeping: its tasks end with their lease, also when nobody was there to see to it."""
    with spawner(tmp_path) as client:
        client.spawn("j.0.1", "sleep 1000")
        client.next("started")
        client.kill()
        journal = tmp_path / "spawner.journal"
        journal.write_text(journal.read_text().replace('"after":0.0,', ""))
        assert "after" not in journal.read_text()
        (tmp_path / "lease").write_text(f"{procs.boot_id()} {wire.now() - 1.0} 0.2")
        client.start()
        ended = client.end_of("j.0.1")
        assert (ended["cause"], ended["reason"]) == ("host", LEASE_ENDED)


def test_a_torn_line_spoils_nothing(tmp_path: Path) -> None:
    path = str(tmp_path / "journal")
    journal = Journal(path)
    journal.add("starting", "a", log="x")
    journal.add("exited", "a", code=1, at_end=2.0)
    journal.sync()
    with open(path, "ab") as file:
        file.write(b'{"kind":"exited","id":"b","co')
    assert Journal(path).records == {"a": {"log": "x", "code": 1, "at_end": 2.0}}
    assert Journal(path).records == {"a": {"log": "x", "code": 1, "at_end": 2.0}}


def test_two_agents_of_one_machine_leave_each_others_tasks_alone(tmp_path: Path) -> None:
    """Their coordinators may well have given the same name to two nodes."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with spawner(tmp_path / "a") as one, spawner(tmp_path / "b") as other:
        for client in (one, other):
            client.spawn("j.0.1", "setsid sh -c 'echo $$; exec sleep 1000' & sleep 1000")
        mine, theirs = (int(client.output("j.0.1")) for client in (one, other))
        one.stop("j.0.1", grace=0)
        one.next("exited")
        assert not getattr(look(mine), "alive", False)
        assert look(theirs) is not None
