"""What was done is undone, last thing first, unless all of it succeeded."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from types import TracebackType

from agent.installation import Created


class Undo:
    """``with Undo() as undo``: makes things and notes them down; ``keep`` makes them last.

    ``created`` is what was made and is to go again when Rallypoint is uninstalled. Methods raise ``OSError``.
    """

    def __init__(self) -> None:
        self._steps: list[Callable[[], object]] = []
        self._note: Path | None = None
        self.created = Created()

    def __enter__(self) -> Undo:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        for step in reversed(self._steps):
            with contextlib.suppress(OSError):
                step()

    def keep(self) -> None:
        """Nothing of it is to be undone any more."""
        self._steps.clear()
        if self._note is not None:
            self._note.unlink(missing_ok=True)

    def add(self, step: Callable[[], object]) -> None:
        """Call ``step`` should a later one fail."""
        self._steps.append(step)

    def write_to(self, note: Path) -> None:
        """Keep ``created`` in a file as well, with what a run noted there that was killed; ``keep`` removes it."""
        with contextlib.suppress(OSError, ValueError, TypeError):
            # What that run made is there now, and would not be taken for ours.
            earlier = {name: tuple(map(str, value)) for name, value in json.loads(note.read_bytes()).items()}
            self.created = Created(**earlier).plus(self.created)
        self.add(lambda: note.unlink(missing_ok=True))
        self._note = note
        self.made(Created())

    def made(self, created: Created) -> None:
        """Note down what uninstalling has to remove."""
        self.created = self.created.plus(created)
        if self._note is not None:
            self._note.write_text(json.dumps(asdict(self.created)))

    def directory(self, path: Path, mode: int = 0o755, owner: tuple[int, int] | None = None) -> None:
        """Have a directory of ours, with the missing ones above it; one that is there stays as it is."""
        if path.is_dir():
            return
        self._parents(path.parent)
        path.mkdir(mode=0o700)
        self.add(lambda: shutil.rmtree(path))
        if owner is not None:
            os.chown(path, *owner)
        path.chmod(mode)
        self.made(Created(dirs=(str(path),)))

    def _parents(self, path: Path) -> None:
        missing = [each for each in (path, *path.parents) if not each.exists()]
        for each in reversed(missing):
            each.mkdir(mode=0o755)
            self.add(each.rmdir)
            self.made(Created(parents=(str(each),)))

    def file(self, path: Path, content: bytes) -> bool:
        """Have a file of ours with this content; whether it had to be written."""
        before = path.read_bytes() if path.exists() else None
        if before == content:
            return False
        self._parents(path.parent)
        temporary = path.with_name(f".{path.name}.new")
        try:
            temporary.write_bytes(content)
            temporary.chmod(0o644)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        if before is None:
            self.add(path.unlink)
        else:
            self.add(lambda: path.write_bytes(before))
        self.made(Created(files=(str(path),)))
        return True

    def link(self, path: Path, target: Path) -> bool:
        """Have a link to ``target``; False when something of somebody else's has that name."""
        if path.is_symlink() and os.readlink(path) == str(target):
            return True
        if path.exists() or path.is_symlink():
            return False
        self._parents(path.parent)
        path.symlink_to(target)
        self.add(path.unlink)
        self.made(Created(links=(str(path),)))
        return True
