"""The supervisor's loop."""

from __future__ import annotations

import os
import select
import signal
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.supervisor.beats import Ear
from agent.supervisor.child import Child, Own, left_behind
from agent.supervisor.rotation import bound_log
from agent.supervisor.standing import LOG_FILE, Standing, write_standing

if TYPE_CHECKING:
    from collections.abc import Mapping

# The coordinator removed this host, or it left: nobody waits for it there.
EXIT_REMOVED = 7
# Another agent has the state directory: one that began while no supervisor lived.
EXIT_ALREADY_RUNNING = 4
# How often the log is measured, and an agent looked at that is not our child.
_LOOK_SECONDS = 2.0
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0
# An agent that lived so long failed for another reason than those before it.
_WELL_SECONDS = 60.0
_SIGNALS = (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@dataclass(frozen=True, slots=True)
class Order:
    """What to keep running. ``stop_seconds``: what an agent that is to end gets for it before it is killed.

    ``watchdog``: seconds without a word after which one that has spoken counts as hanging; ``log_limit`` in bytes.
    """

    state_dir: Path
    command: tuple[str, ...]
    stop_seconds: float
    watchdog: float
    log_limit: int


def pause(failures: int) -> float:
    """Seconds before the next start after so many failures in a row."""
    return min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** min(failures - 1, 16))


class Keeper:
    """Keeps one agent running. TERM and INT end it and us; HUP ends it to be started again, with what is there then."""

    def __init__(self, order: Order, environ: Mapping[str, str]) -> None:
        self._order = order
        self._environ = environ
        self._wakeup, writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        for number in _SIGNALS:
            # What counts is the number in the pipe. A handler, unlike "ignored", is not passed on to the agent.
            signal.signal(number, lambda *_: None)
        self._ear = Ear(order.state_dir)
        self._agent: Child | None = None
        self._standing = Standing(supervisor=os.getpid(), phase="waiting")
        self._written: Standing | None = None
        self._failures = 0
        self._start_at = 0.0
        self._started_at = 0.0
        self._heard_at: float | None = None
        self._kill_at: float | None = None
        # Why the agent was told to end: HUP, to be started again; TERM, for good.
        self._told: signal.Signals | None = None

    def run(self) -> int:
        """Until told to end (0), or until the agent must not be started again: its exit code."""
        self._adopt()
        while True:
            self._advance(time.monotonic())
            self._write()
            if self._standing.phase == "ended":
                return 0 if self._told is signal.SIGTERM else self._standing.last_code or 0
            self._wait()
            self._obey()
            self._listen()
            bound_log(self._order.state_dir / LOG_FILE, self._order.log_limit)

    def _adopt(self) -> bool:
        agent = left_behind(self._order.state_dir)
        if agent is not None:
            self._agent = agent
            self._heard_at, self._started_at = None, time.monotonic()
            self._stand(phase="running", agent=agent.pid, since=time.time(), ready=True, says="taken over")
        return agent is not None

    # --- one turn -------------------------------------------------------------------------------------------------

    def _advance(self, now: float) -> None:
        if self._agent is not None and self._agent.ended():
            self._ended(self._agent, now)
        if self._agent is not None:
            self._press(self._agent, now)
        elif self._told is signal.SIGTERM:
            self._stand(phase="ended")
        elif self._standing.phase != "ended" and now >= self._start_at:
            self._start(now)

    def _start(self, now: float) -> None:
        environ = {**self._environ, **self._ear.environment(self._order.watchdog)}
        self._told, self._heard_at, self._started_at = None, None, now
        try:
            self._agent = Own(self._order.state_dir, self._order.command, environ)
        except OSError as error:
            self._failed(now, f"it can't be started: {error.strerror}", None)
            return
        self._stand(phase="running", agent=self._agent.pid, since=time.time(), ready=False, says="", next_start=0.0)

    def _ended(self, agent: Child, now: float) -> None:
        code, told = agent.code, self._told
        self._agent, self._kill_at = None, None
        # What it said of itself, that it is in contact say, is over with it.
        self._stand(agent=0, ready=False, says="", last_code=code, last_end=time.time())
        if code == EXIT_REMOVED:
            self._stand(phase="ended", says="this host has left its cluster: it was removed, or went by itself")
        elif told is signal.SIGHUP:
            self._failures, self._start_at, self._told = 0, now, None
        elif told is None and not (code == EXIT_ALREADY_RUNNING and self._adopt()):
            if now - self._started_at >= _WELL_SECONDS:
                self._failures = 0
            self._failed(now, "ended by itself", code)

    def _failed(self, now: float, says: str, code: int | None) -> None:
        self._failures += 1
        seconds = pause(self._failures)
        self._start_at = now + seconds
        self._stand(
            phase="waiting",
            agent=0,
            says=says,
            last_code=code,
            last_end=time.time(),
            next_start=time.time() + seconds,
            restarts=self._standing.restarts + 1,
        )

    def _press(self, agent: Child, now: float) -> None:
        """Kill what was told to end and does not, or what has not said for too long that it is well."""
        if self._kill_at is not None and now >= self._kill_at:
            agent.send(signal.SIGKILL)
            self._kill_at = now + _LOOK_SECONDS
        elif self._told is None and self._heard_at is not None and now - self._heard_at > self._order.watchdog:
            self._stand(says="it hangs: killed")
            agent.send(signal.SIGKILL)

    # --- what happens ---------------------------------------------------------------------------------------------

    def _wait(self) -> None:
        seconds = _LOOK_SECONDS
        if self._agent is None and self._standing.phase == "waiting":
            seconds = min(seconds, max(0.0, self._start_at - time.monotonic()))
        select.select([self._wakeup, self._ear.socket.fileno()], [], [], seconds)

    def _obey(self) -> None:
        try:
            numbers = os.read(self._wakeup, 4096)
        except BlockingIOError:
            return
        if signal.SIGTERM in numbers or signal.SIGINT in numbers:
            self._end(signal.SIGTERM)
        elif signal.SIGHUP in numbers and self._told is None:
            self._end(signal.SIGHUP)

    def _end(self, why: signal.Signals) -> None:
        self._told = why
        # Whoever waits for the next start waits no longer.
        self._start_at = 0.0
        if self._agent is not None:
            self._kill_at = time.monotonic() + self._order.stop_seconds
            self._stand(phase="stopping")
            self._agent.send(why)

    def _listen(self) -> None:
        for line in self._ear.hear(self._agent.pid if self._agent is not None else 0):
            name, _, value = line.partition("=")
            if name == "READY":
                self._stand(ready=True)
            elif name == "STATUS":
                self._stand(says=value)
            if name in ("READY", "WATCHDOG"):
                self._heard_at = time.monotonic()

    # --- for those who ask ----------------------------------------------------------------------------------------

    def _stand(self, **changed: Any) -> None:
        self._standing = replace(self._standing, **changed)

    def _write(self) -> None:
        if self._standing != self._written and write_standing(self._order.state_dir, self._standing):
            self._written = self._standing
