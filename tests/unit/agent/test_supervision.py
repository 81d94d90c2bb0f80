"""What a supervisor is made of: pauses, a bounded log, an ear for one process; and units, by systemd's own command."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from agent.cli import main
from agent.installation import Installation, Mode, Supervisor
from agent.restarting import announce_restart, is_restarting, restarted
from agent.supervision import Place, place_of, restart, start, status, stop
from agent.supervisor.beats import Ear
from agent.supervisor.keeper import pause
from agent.supervisor.rotation import bound_log, open_log
from agent.units import SupervisionFailed
from tests.support import eventually

SPEAK = "from rallypoint.systemd import notify; notify('READY=1', 'STATUS=well'); input()"
# Tells what it was called with, and answers `show` as systemd does.
SYSTEMCTL = """#!/bin/sh
echo "$@" >> "$CALLS"
case "$*" in *broken*) echo "Unit broken.service not found." >&2; exit 5 ;; *" show "*|show*) cat "$ANSWER" ;; esac
"""


def test_pauses_grow_and_end_at_a_minute() -> None:
    assert [pause(failures) for failures in (1, 2, 3, 6, 7, 1000)] == [1.0, 2.0, 4.0, 32.0, 60.0, 60.0]


def test_a_log_is_bounded_and_private_and_goes_on_for_who_has_it_open(tmp_path: Path) -> None:
    path = tmp_path / "agent.log"
    log = open_log(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    for turn in range(5):
        os.write(log, b"%d" % turn * 600)
        bound_log(path, 1000)
    os.close(log)
    assert (path.read_bytes(), Path(f"{path}.1").read_bytes()) == (b"4" * 600, b"2" * 600 + b"3" * 600)
    assert stat.S_IMODE(Path(f"{path}.1").stat().st_mode) == 0o600
    assert sorted(os.listdir(tmp_path)) == ["agent.log", "agent.log.1"]


def test_a_link_in_the_place_of_the_log_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "agent.log").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match=r"agent\.log"):
        open_log(tmp_path / "agent.log")
    assert not (tmp_path / "elsewhere").exists()


@pytest.fixture
def short() -> Iterator[Path]:
    """A state directory whose path leaves room for a socket's name."""
    with tempfile.TemporaryDirectory(prefix="ear-") as made:
        yield Path(made)


def heard(ear: Ear) -> list[str]:
    """What arrives of an agent's words, and of somebody else's."""
    environ = ear.environment(30.0)
    name = environ["NOTIFY_SOCKET"]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.connect("\0" + name[1:] if name.startswith("@") else name)
        other.send(b"STATUS=I am the agent")
    speaker = [sys.executable, "-c", SPEAK]
    with subprocess.Popen(speaker, stdin=subprocess.PIPE, env={**os.environ, **environ}) as agent:
        words = eventually(lambda: ear.hear(agent.pid), what="the agent's words")
        agent.communicate(b"\n")
    return words


def test_only_the_agent_is_listened_to_and_goes_on_being_heard_by_the_next_supervisor(short: Path) -> None:
    first = Ear(short)
    name = first.environment(30.0)["NOTIFY_SOCKET"]
    assert heard(first) == ["READY=1", "STATUS=well"]
    assert stat.S_IMODE(os.stat(name).st_mode) == 0o600, "no task of the host reaches it"
    # As one that was killed leaves it.
    first.socket.close()
    second = Ear(short)
    assert second.environment(30.0)["NOTIFY_SOCKET"] == name
    assert heard(second) == ["READY=1", "STATUS=well"]
    second.socket.close()


def test_where_the_path_is_too_long_for_a_socket_nobody_can_take_the_name_beforehand(short: Path) -> None:
    deep = short / ("d" * 120)
    deep.mkdir()
    first = Ear(deep)
    name = first.environment(30.0)["NOTIFY_SOCKET"]
    assert name.startswith("@")
    first.socket.close()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as taker:
        taker.bind("\0" + name[1:])
        second = Ear(deep)
        assert heard(second) == ["READY=1", "STATUS=well"]
        second.socket.close()


def test_a_restart_that_was_announced_is_known_until_the_agent_is_back(tmp_path: Path) -> None:
    assert not is_restarting(tmp_path)
    announce_restart(tmp_path)
    assert is_restarting(tmp_path)
    restarted(tmp_path)
    assert not is_restarting(tmp_path)
    (tmp_path / "restarting").write_text("0.0\n")
    assert not is_restarting(tmp_path), "what was announced long ago is no restart of now"


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the systemctl on the path was called with."""
    program = tmp_path / "bin" / "systemctl"
    program.parent.mkdir()
    program.write_text(SYSTEMCTL)
    program.chmod(0o755)
    (tmp_path / "answer").write_text("ActiveState=active\nSubState=running\nMainPID=77\nNRestarts=2\nStatusText=well\n")
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("CALLS", str(tmp_path / "calls"))
    monkeypatch.setenv("ANSWER", str(tmp_path / "answer"))
    return tmp_path / "calls"


@pytest.mark.parametrize(("kind", "user"), [(Supervisor.SYSTEMD, ""), (Supervisor.SYSTEMD_USER, "--user ")])
def test_what_systemd_has_is_left_to_systemd(tmp_path: Path, calls: Path, kind: Supervisor, user: str) -> None:
    installation = Installation(
        prefix=tmp_path, mode=Mode.ROOT, supervisor=kind, state_dir=tmp_path, coordinator="", install_url="", pin="",
        python="", unit="rallypoint-agent.service",
    )  # fmt: skip
    place = place_of(tmp_path, installation)
    assert place.command == (str(tmp_path / "current/bin/agent"),)
    seen = start(place)
    assert (seen.running, seen.phase, seen.agent, seen.restarts) == (True, "active (running)", 77, 2)
    stop(place)
    restart(place)
    assert is_restarting(tmp_path)
    said = [line.removeprefix(user) for line in calls.read_text().splitlines()]
    show = "show --property ActiveState,SubState,MainPID,NRestarts,ExecMainStatus,StatusText rallypoint-agent.service"
    unit = "rallypoint-agent.service"
    assert said == [f"start {unit}", show, f"stop {unit}", f"restart --no-block {unit}"]


def test_what_systemd_refuses_is_told_in_one_line(tmp_path: Path, calls: Path) -> None:
    with pytest.raises(SupervisionFailed, match=r"'systemctl start broken' failed: Unit broken.service not found."):
        start(Place(tmp_path, Supervisor.SYSTEMD, unit="broken"))
    assert calls.read_text() == "start broken\n"


@pytest.mark.parametrize(("answer", "code"), [("n\n", 1), ("", 2)])
def test_an_uninstall_that_nobody_agrees_to_removes_nothing_and_says_so(tmp_path: Path, answer: str, code: int) -> None:
    (tmp_path / "kept").touch()
    ran = CliRunner().invoke(main, ["uninstall", "--state-dir", str(tmp_path)], input=answer)
    assert (ran.exit_code, "nothing was removed" in ran.output) == (code, True), ran.output
    assert (tmp_path / "kept").exists()


def test_an_installation_of_another_state_directory_is_not_ours(tmp_path: Path) -> None:
    place = place_of(tmp_path / "other", None)
    assert (place.kind, status(place).phase) == (Supervisor.BACKGROUND, "stopped")
