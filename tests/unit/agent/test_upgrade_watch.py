"""The watcher: the new version stays if it proves itself, the old one comes back if not, whoever is killed and when.

Supervisor and watcher are the real ones; the agents are scripts, which prove themselves or do not.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from rallypoint.failpoints import VARIABLE

from agent.installation import Installation, Mode, Supervisor, current_version, save, switch
from agent.lock import holder
from agent.upgrade.trial import LOCK_FILE, Progress, Step, Trial, read_ended, read_trial, watch_trial, write_trial
from tests.support import eventually

TREE = Path(__file__).parents[3]
# What a version's `agent run` does once it has said which one it is.
LIVES = "exec sleep 1000"
PROVES = f"rm $STATE/upgrade.json; {LIVES}"
DIES = "echo no such luck; exit 3"


class Host:
    """An installation whose versions are scripts, with a supervisor."""

    def __init__(self, folder: Path) -> None:
        self.state = folder / "state"
        self.state.mkdir()
        self.installation = Installation(
            folder / "prefix", Mode.USER, Supervisor.BACKGROUND, self.state, "", "", "", sys.executable
        )
        self.watchers: list[subprocess.Popen[bytes]] = []
        self.add("old", LIVES)
        save(self.installation)
        switch(self.installation.prefix, "old")
        command = [str(self.installation.agent), "run"]
        words = [sys.executable, "-m", "agent.supervisor", "--state-dir", str(self.state), "--", *command]
        self.supervisor = subprocess.Popen(words, cwd=TREE)
        self.await_runs("old")

    def add(self, name: str, does: str) -> None:
        """A version; its Python is the tests' own, with this program."""
        folder = self.installation.versions / name / "bin"
        folder.mkdir(parents=True)
        # Behind -I nothing but this tells where the program is.
        run = f"import sys, runpy; sys.path[:0] = [{str(TREE)!r}, {str(TREE / 'protos')!r}]; sys.argv[1:4] = []"
        module = "runpy.run_module('agent.upgrade.watch', run_name='__main__', alter_sys=True)"
        files = {
            "python": f'#!/bin/sh\nexec "{sys.executable}" -c "{run}; {module}" "$@"\n',
            "agent": f'#!/bin/sh\nSTATE="{self.state}"\necho {name} > "$STATE/runs"\n{does}\n',
        }
        for file, content in files.items():
            (folder / file).write_text(content)
            (folder / file).chmod(0o755)

    def runs(self) -> str:
        """The version that was started last."""
        try:
            return (self.state / "runs").read_text().strip()
        except OSError:
            return ""

    def await_runs(self, name: str) -> None:
        eventually(lambda: self.runs() == name, what=f"{name} to be started")

    def try_new(self, does: str, seconds: float = 30.0) -> None:
        """Begin the trial of a version that does so."""
        self.add("new", does)
        write_trial(self.state, Trial(7, str(self.installation.prefix), "old", "new", seconds))

    def watch(self) -> None:
        """Have the trial watched, as an agent does."""
        watcher = watch_trial(self.state)
        if watcher is not None:
            self.watchers.append(watcher)

    def await_end(self) -> Progress | None:
        """Wait until nobody watches and nothing is on trial; how it ended, if that was written down."""
        eventually(lambda: read_trial(self.state) is None, 20.0, "the end of the trial")
        eventually(lambda: holder(self.state / LOCK_FILE) is None, what="the end of the watch")
        return read_ended(self.state)

    def current(self) -> str | None:
        return current_version(self.installation.prefix)


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    """The old version runs."""
    made = Host(tmp_path)
    yield made
    made.supervisor.terminate()
    made.supervisor.wait(20)
    for watcher in made.watchers:
        watcher.wait(20)
    log = made.state / "upgrade.log"
    assert "Traceback" not in (log.read_text() if log.exists() else "")


def test_a_version_that_proves_itself_stays(host: Host) -> None:
    host.try_new(PROVES)
    host.watch()
    host.await_runs("new")
    assert host.await_end() is None, "the new version itself says that it is there"
    assert host.current() == "new"


def test_one_that_dies_again_and_again_does_not_and_its_last_words_are_told(host: Host) -> None:
    host.try_new(DIES)
    host.watch()
    ended = host.await_end()
    assert ended == Progress(
        7, Step.ROLLED_BACK, "new ended 3 times (exit code 3); old is back; its log says: no such luck"
    )
    assert host.current() == "old"
    host.await_runs("old")


def test_one_that_lives_without_contact_does_not_either(host: Host) -> None:
    host.try_new(LIVES, seconds=1.0)
    host.watch()
    host.await_runs("new")
    ended = host.await_end()
    assert ended == Progress(7, Step.ROLLED_BACK, "new was not in contact within 1 s; old is back")
    host.await_runs("old")


@pytest.mark.parametrize(
    ("place", "does", "stays"),
    [
        ("before-switch", PROVES, "new"),
        ("after-switch", PROVES, "new"),
        # Nobody knows whether it was started: what is not proven in time goes.
        ("before-restart", PROVES, "old"),
        ("after-restart", PROVES, "new"),
        ("after-restart", LIVES, "old"),
        ("before-switch-back", LIVES, "old"),
        ("after-switch-back", LIVES, "old"),
        ("after-restart-back", LIVES, "old"),
    ],
)
def test_killed_at_any_step_the_watch_goes_on(
    host: Host, monkeypatch: pytest.MonkeyPatch, place: str, does: str, stays: str
) -> None:
    host.try_new(does, seconds=1.0)
    monkeypatch.setenv(VARIABLE, f"upgrade.{place}")
    host.watch()
    ended = host.await_end()
    assert host.current() == stays
    host.await_runs(stays)
    assert (ended is None) == (stays == "new")
    if ended is not None:
        assert ended.step is Step.ROLLED_BACK


def test_when_the_whole_watch_is_killed_the_next_agent_begins_another(host: Host) -> None:
    host.try_new(LIVES, seconds=3.0)
    host.watch()
    host.await_runs("new")
    first = eventually(lambda: holder(host.state / LOCK_FILE), what="the watcher")
    host.watch()
    children = eventually(lambda: Path(f"/proc/{first}/task/{first}/children").read_text().split(), what="its child")
    for pid in (first, *map(int, children)):
        os.kill(pid, 9)
    eventually(lambda: holder(host.state / LOCK_FILE) is None, what="nobody watches")
    host.watch()
    ended = host.await_end()
    assert ended is not None
    assert ended.step is Step.ROLLED_BACK
    host.await_runs("old")


def test_what_is_no_trial_is_not_watched(tmp_path: Path) -> None:
    (tmp_path / "upgrade.json").write_text("{")
    assert read_trial(tmp_path) is None
    assert watch_trial(tmp_path) is None
    assert not (tmp_path / "upgrade.log").exists()
