"""The ``files`` of a task: which local paths go to which places under a node's working directory."""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass, replace
from pathlib import Path, PureWindowsPath

from coordinator.spec.problems import Wrong

_DRIVE = re.compile(r"[A-Za-z]:[\\/]")


@dataclass(frozen=True, slots=True)
class FileMapping:
    """A local file or folder and its place under the working directory (relative, POSIX; ``.`` is that itself)."""

    local: str
    remote: str

    def under(self, base: Path) -> FileMapping:
        """The same with the local path resolved against ``base``. Raises ``Wrong`` when nothing is there."""
        local = base / Path(self.local).expanduser()
        if not local.exists() and not local.is_symlink():
            raise Wrong(f"files: {str(local)!r} does not exist; paths are relative to the task file; check the path")
        return replace(self, local=str(local))


def parse_mapping(value: object) -> FileMapping:
    """``path``, ``local:remote`` or ``{local_path: , path: }``. Raises ``Wrong``."""
    if isinstance(value, dict) and value.keys() == {"local_path", "path"}:
        local, remote = value["local_path"], value["path"]
    elif isinstance(value, str):
        local, remote = _split(value)
    else:
        raise Wrong("files has an item of an unknown form; write '- PATH' or '- LOCAL:REMOTE'")
    if not isinstance(local, str) or not isinstance(remote, str) or not local or not remote:
        raise Wrong("files has an item with an empty path; write '- PATH' or '- LOCAL:REMOTE'")
    return FileMapping(local, _remote(local, remote))


def _split(text: str) -> tuple[str, str]:
    drive = text[:2] if _DRIVE.match(text) else ""
    parts = text[len(drive) :].split(":")
    if len(parts) > 2:
        raise Wrong(f"files: {text!r} has more than one ':'; write LOCAL:REMOTE")
    local = drive + parts[0]
    return local, parts[1] if len(parts) == 2 else local


def _remote(local: str, remote: str) -> str:
    posix = remote.replace("\\", "/") if remote == local else remote
    name = PureWindowsPath(local).name or "files"
    clean = posixpath.normpath(posix)
    if posix.startswith(("/", "~")) or _DRIVE.match(posix):
        raise Wrong(
            f"files: {remote!r} would lie outside the working directory, which is not supported yet;"
            f" write {local}:{name}"
        )
    if clean == ".." or clean.startswith("../"):
        raise Wrong(f"files: {remote!r} would lie outside the working directory; write {local}:{name}")
    return clean
