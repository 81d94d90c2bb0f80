"""Where an agent keeps what, below its state directory."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from functools import lru_cache
from typing import TYPE_CHECKING

from agent import common_path
from agent.spares import PREFIX, Spares

if TYPE_CHECKING:
    from pathlib import Path

    from agent.core.model import AllocationId
    from agent.users import Account

# Working directories that a node left files in are kept, the newest so many of them.
KEPT_WORK_DIRS = 200
INSIDE = "container"

_SAFE = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}")


class UnsafeId(ValueError):
    """An allocation's id can't be a file name."""


class Places:
    """Directories and files of one agent; ``work`` may lie elsewhere, on a larger disk.

    ``others`` is whom most nodes run as, if that is not the agent's own user; ``passable``: any may run as others. What
    is theirs lies behind directories that they can pass but not list, and nothing else can be read by them.
    """

    def __init__(
        self, state_dir: Path, work_dir: Path | None = None, others: Account | None = None, passable: bool = False
    ) -> None:
        self.state = state_dir
        self.work = work_dir or state_dir / "work"
        self.logs = state_dir / "logs"
        self.aux = state_dir / "nodes"
        self.archives = state_dir / "archives"
        self.launcher = state_dir / "bin" / "rallypoint-mpi-launch"
        self._others = others
        self._passable = passable or others is not None
        owner = os.geteuid() if others is None else others.uid
        self._spare_works = Spares(self.work, owner)
        self._spare_logs = Spares(self.logs, owner)

    def make(self) -> None:
        """Create all directories, closed to other users; of an agent that has the state directory to itself."""
        passable = (self.state, self.work, self.aux, self.launcher.parent) if self._passable else ()
        for directory in (self.state, self.work, self.logs, self.aux, self.archives, self.launcher.parent):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            directory.chmod(0o711 if directory in passable else 0o700)
        self._spare_works.open()
        self._spare_logs.open()

    def work_of(self, key: AllocationId) -> str:
        """Its working directory."""
        return f"{self.work}/{_checked(key)}"

    def inside_of(self, key: AllocationId) -> str:
        """What its container has as its directory. Root in there can open it to all, but not the one around it."""
        return f"{self.work_of(key)}/{INSIDE}"

    def log_of(self, key: AllocationId) -> str:
        """Its output."""
        return f"{self.logs}/{_checked(key)}.log"

    def aux_of(self, key: AllocationId) -> str:
        """What the agent lays ready for it outside its working directory."""
        return f"{self.aux}/{_checked(key)}"

    def said_of(self, key: AllocationId) -> str:
        """Where it announces itself."""
        return f"{self.aux_of(key)}/said"

    def ready_file_of(self, key: AllocationId) -> str:
        """What it makes to announce that it is ready."""
        return f"{self.said_of(key)}/ready"

    def make_work(self, key: AllocationId, owner: Account | None = None, closed: bool = False) -> str:
        """A fresh working directory, of ``owner`` unless it is ``closed``: then it is still to be given to them.

        Raises:
            OSError: it can't be made.
        """
        path = self.work_of(key)
        if owner == self._others and not closed and self._spare_works.use_directory(path):
            return path
        try:
            os.mkdir(path, 0o700)
        except FileExistsError:
            # Left by a preparation that this agent did not live to finish; nothing has run in it.
            shutil.rmtree(path)
            os.mkdir(path, 0o700)
        if owner is not None and not closed:
            os.chown(path, owner.uid, owner.gid)
        return path

    def make_aux(self, key: AllocationId, owner: Account | None) -> str:
        """The place for what is laid ready for it, where ``owner`` may make the file that it announces itself by.

        Raises:
            OSError: it can't be made.
        """
        path = self.aux_of(key)
        for folder, mode in ((path, 0o700 if owner is None else 0o711), (f"{path}/said", 0o700)):
            with contextlib.suppress(FileExistsError):
                os.mkdir(folder, mode)
            # What was given away already is its owner's to open and close; not every agent may.
            if os.stat(folder).st_uid == os.geteuid():
                os.chmod(folder, mode)
        if owner is not None:
            os.chown(f"{path}/said", owner.uid, owner.gid)
        return path

    def drop_work(self, key: AllocationId) -> None:
        """Remove its working directory if nothing is in it, its common name, and its other files."""
        work, aux = self.work_of(key), self.aux_of(key)
        with contextlib.suppress(OSError):
            os.rmdir(self.inside_of(key))
        if not self._spare_works.keep_directory(work):
            with contextlib.suppress(OSError):
                os.rmdir(work)
        if not os.path.isdir(aux):
            return
        with contextlib.suppress(OSError):
            common_path.remove(os.readlink(self._common_of(key)), work)
        shutil.rmtree(aux, ignore_errors=True)

    def common_work(self, key: AllocationId, path: str, owner: Account | None = None) -> str:
        """Its working directory by a name that all hosts of its group have, ``path``, or else by its own.

        The first answer holds: what the node was told must stay true.

        Raises:
            OSError: it can't be noted.
        """
        work, note = self.work_of(key), self._common_of(key)
        if not os.path.lexists(note):
            self.make_aux(key, owner)
            os.symlink(path if path and common_path.make(path, work, owner) else work, note)
        noted = os.readlink(note)
        # Again, in case someone has tidied up.
        return noted if noted == work or common_path.make(noted, work, owner) else work

    def _common_of(self, key: AllocationId) -> str:
        return f"{self.aux_of(key)}/directory"

    def lay_log(self, key: AllocationId, owner: Account | None = None) -> str:
        """Its output, where an empty file may be laid ready."""
        path = self.log_of(key)
        if owner == self._others:
            self._spare_logs.use_file(path)
        return path

    def drop_log(self, key: AllocationId) -> None:
        """Remove its output."""
        path = self.log_of(key)
        if not self._spare_logs.keep_file(path):
            with contextlib.suppress(OSError):
                os.unlink(path)

    def prune_logs(self, in_use: set[AllocationId], before: float) -> None:
        """Remove output of nodes that nobody knows any more, unless it was written to after ``before`` (Unix seconds).

        It is left when the agent is killed between forgetting a node and removing its output.
        """
        names = {os.path.basename(self.log_of(key)) for key in in_use}
        with os.scandir(self.logs) as entries:
            others = [entry for entry in entries if entry.name not in names and not entry.name.startswith(PREFIX)]
            lost = [entry.path for entry in others if entry.stat().st_mtime < before]
        for path in lost:
            with contextlib.suppress(OSError):
                os.unlink(path)

    def prune_work(self, in_use: set[str]) -> None:
        """Remove the oldest kept working directories beyond the bound."""
        with os.scandir(self.work) as entries:
            others = [entry for entry in entries if entry.name not in in_use and not entry.name.startswith(PREFIX)]
            kept = [(entry.stat().st_mtime, entry.path) for entry in others]
        for _, path in sorted(kept)[: max(0, len(kept) - KEPT_WORK_DIRS)]:
            shutil.rmtree(path, ignore_errors=True)


# Asked for a few times in the life of each.
@lru_cache(maxsize=4096)
def _checked(key: AllocationId) -> str:
    if not _SAFE.fullmatch(key):
        raise UnsafeId(f"allocation id {key!r} cannot be a file name")
    return key
