"""Ending all that an agent had run: tasks, the spawner above them and the reaper above that, with their control groups.

For a host that is uninstalled; the agent itself is gone already.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING

from agent.common_path import DIRECTORY
from agent.spawner import procs, wire
from agent.spawner.hierarchies import PREFIX

if TYPE_CHECKING:
    from collections.abc import Callable

_GRACE = 5.0
# A stop takes its grace, then the kill; the spawner leaves once nobody needs it.
_STOP_SECONDS, _LEAVE_SECONDS = 15.0, 15.0
_PROGRAMS = {b"agent.spawner", b"agent.supervisor", b"run"}
_LINKS = "rallypoint-*"
_GROUPS = "/sys/fs/cgroup"


def clear(state_dir: Path, reason: str) -> list[int]:
    """End everything; the processes that would not end."""
    _stop_tasks(state_dir, reason)
    if not _waited(lambda: not _programs(state_dir), _LEAVE_SECONDS):
        _kill(lambda: _programs(state_dir))
    left = _kill(lambda: _marked(state_dir))
    _drop_groups(state_dir)
    _drop_links(state_dir)
    return left


def _stop_tasks(state_dir: Path, reason: str) -> None:
    """By the spawner, if one lives: with each task's whole tree, whoever its user is."""
    with contextlib.suppress(OSError, wire.WireError), _connected(state_dir) as spawner:
        decoder, live = wire.Decoder(), set[str]()
        end = time.monotonic() + _STOP_SECONDS
        while True:
            spawner.settimeout(max(0.01, end - time.monotonic()))
            data = spawner.recv(1 << 18)
            if not data:
                return
            for news in decoder.feed(data):
                if news["ev"] == "snapshot":
                    live = _live(news["records"])
                    spawner.sendall(wire.encode([_stop(task, reason) for task in sorted(live)]))
                elif news["ev"] == "exited":
                    live.discard(str(news["id"]))
            if not live:
                return


def _connected(state_dir: Path) -> socket.socket:
    # Through the directory's descriptor, since a socket's path may have 107 bytes only.
    folder = os.open(state_dir, os.O_PATH | os.O_DIRECTORY)
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(_STOP_SECONDS)
    try:
        connection.connect(f"/proc/self/fd/{folder}/{wire.SOCKET}")
    except OSError:
        connection.close()
        raise
    finally:
        os.close(folder)
    return connection


def _live(records: object) -> set[str]:
    assert isinstance(records, dict)
    return {task for task, record in records.items() if "at_end" not in record}


def _stop(task: str, reason: str) -> wire.Message:
    return {"op": "stop", "id": task, "signal": "TERM", "grace": _GRACE, "cause": "stopped", "reason": reason}


def _programs(state_dir: Path) -> list[int]:
    """What serves this state directory: reaper and spawner, and an agent and its supervisor that are just ending."""
    found = []
    for pid in procs.everything():
        with contextlib.suppress(OSError):
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            if os.fsencode(state_dir) in words and not _PROGRAMS.isdisjoint(words):
                found.append(pid)
    return found


def _marked(state_dir: Path) -> list[int]:
    """What tasks left behind, by the mark that the spawner put on them."""
    place = state_dir.stat()
    mark = f"{place.st_dev:x}-{place.st_ino:x}/"
    return [pid for pid in procs.everything() if procs.mark_of(pid).startswith(mark)]


def _kill(find: Callable[[], list[int]]) -> list[int]:
    """Kill all that is found, until nothing is; what is left after a while."""

    def none_left() -> bool:
        for pid in find():
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        return not find()

    _waited(none_left, _LEAVE_SECONDS)
    return find()


def _drop_groups(state_dir: Path) -> None:
    """Control groups of a spawner that was killed; one that ends by itself leaves none."""
    place = state_dir.stat()
    name = f"{PREFIX}{place.st_dev:x}-{place.st_ino:x}"
    for folder, below, _ in os.walk(_GROUPS):
        if os.path.basename(folder) == name:
            for each in (*(os.path.join(folder, group) for group in below), folder):
                with contextlib.suppress(OSError):
                    os.rmdir(each)
            below.clear()


def _drop_links(state_dir: Path) -> None:
    """What an agent that was killed leaves outside of its directories: paths that a group's nodes had in common."""
    for link in Path(DIRECTORY).glob(_LINKS):
        with contextlib.suppress(OSError):
            if os.readlink(link).startswith(f"{state_dir}/"):
                link.unlink()


def _waited(reached: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not reached():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True
