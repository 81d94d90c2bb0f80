"""Taking an installation off a machine: what the installer made goes, and nothing else."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

from agent import lingering
from agent.supervisor.standing import LOG_FILE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from agent.installation import Created, Installation

# Beside the agent's state there may be a coordinator's, which is nobody's to remove here.
_COORDINATOR = "coordinator"
_LOGS = ("logs", LOG_FILE, f"{LOG_FILE}.1")
# Others that change the list of users hold its lock for a moment.
_USER_TRIES = 20


class Remover:
    """Removes things one by one; ``stayed`` says what could not be, and why."""

    def __init__(self) -> None:
        self.stayed: list[str] = []

    def state(self, state_dir: Path, keep_logs: bool) -> None:
        """The state directory, or all of it but the logs."""
        if not keep_logs:
            self._try(state_dir, lambda: shutil.rmtree(state_dir))
            return
        for entry in _entries(state_dir):
            if entry.name not in _LOGS:
                self._anything(entry)

    def work(self, work_dir: Path) -> None:
        """Working directories that lie elsewhere; the directory itself was there before."""
        for entry in _entries(work_dir):
            self._anything(entry)

    def files(self, created: Created) -> None:
        """Files and links that the installer made outside of its directories."""
        for path in (*created.links, *created.files):
            self._try(Path(path), Path(path).unlink)

    def program(self, installation: Installation, keep: Path | None) -> None:
        """The program, last of all: this very process runs from it. ``keep`` is a directory that stays."""
        prefix = installation.prefix
        for path in (installation.versions, installation.current, prefix / "python"):
            self._anything(path)
        for path in (Path(each) for each in reversed(installation.created.dirs)):
            if keep is None or not keep.is_relative_to(path):
                self._directory(path)
        # From now on there is no installation; a run that was interrupted before can be repeated.
        self._try(installation.file, installation.file.unlink)
        for path in (prefix, *(Path(each) for each in reversed(installation.created.parents))):
            with contextlib.suppress(OSError):
                path.rmdir()

    def users(self, names: Iterable[str]) -> None:
        """System users that the installer made."""
        for name in names:
            said = _remove_user(name)
            if said:
                self.stayed.append(f"user {name} ({said})")

    def lingering(self, names: Iterable[str]) -> None:
        """That services of users whom the installer let linger go on without a login."""
        for name in names:
            said = lingering.end(name)
            if said:
                self.stayed.append(f"the lingering of {name} ({said}): loginctl disable-linger {name}")

    def _directory(self, path: Path) -> None:
        for entry in _entries(path):
            if entry.name != _COORDINATOR:
                self._anything(entry)
        with contextlib.suppress(OSError):
            path.rmdir()

    def _anything(self, path: Path) -> None:
        is_directory = path.is_dir() and not path.is_symlink()
        self._try(path, (lambda: shutil.rmtree(path)) if is_directory else path.unlink)

    def _try(self, path: Path, remove: Callable[[], object]) -> None:
        try:
            remove()
        except FileNotFoundError:
            return
        except OSError as error:
            self.stayed.append(f"{path} ({error.strerror})")


def _entries(directory: Path) -> list[Path]:
    try:
        return [Path(entry.path) for entry in os.scandir(directory)]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _remove_user(name: str) -> str:
    """Why it is still there; empty: it is gone."""
    program = next((each for each in ("userdel", "deluser") if shutil.which(each)), "")
    if not program:
        return "there is neither userdel nor deluser here"
    for _ in range(_USER_TRIES):
        done = subprocess.run([program, name], capture_output=True, text=True, check=False)
        if done.returncode == 0 or "does not exist" in done.stderr or "unknown user" in done.stderr:
            return ""
        if "lock" not in done.stderr:
            break
        time.sleep(0.25)
    return " ".join(done.stderr.split())
