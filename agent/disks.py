"""The disks that this agent's work is written to."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import structlog

from agent.core.disk import Room, problem, reserve_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

log = structlog.get_logger()


class Disks:
    """Watches the disks of ``directories``; ``wanted`` bytes of each are to be free, None for the default."""

    def __init__(self, directories: Sequence[Path], wanted: int | None) -> None:
        self._directories = directories
        self._wanted = wanted
        self.problem = ""

    def look(self) -> bool:
        """Look anew at what ``problem`` says; whether one came or went. Blocking."""
        before = self.problem
        rooms = {disk: room for directory in self._directories for disk, room in _room(directory)}
        self.problem = problem(list(rooms.values()), self._wanted, bool(before))
        if bool(before) == bool(self.problem):
            return False
        if self.problem:
            log.warning("disk.nearly_full", reason=self.problem, hint="no new work comes until there is room again")
        else:
            log.info("disk.has_room_again")
        return True

    def reserve(self) -> int:
        """Bytes that are to be free on the first directory's disk; 0 if it does not tell. Blocking."""
        return next((reserve_of(room.total, self._wanted) for _, room in _room(self._directories[0])), 0)


def _room(directory: Path) -> list[tuple[int, Room]]:
    try:
        disk = os.statvfs(directory)
        device = os.stat(directory).st_dev
    except OSError:
        return []
    return [(device, Room(str(directory), disk.f_blocks * disk.f_frsize, disk.f_bavail * disk.f_frsize))]
