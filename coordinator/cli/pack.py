"""Packing a job's files: one tar archive, the same bytes for the same files, so that its hash names its content."""

from __future__ import annotations

import os
import posixpath
import stat
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from coordinator.spec.files import FileMapping

MAX_BYTES = 2 * 1024**3
MAX_ENTRIES = 100_000
SKIPPED = frozenset({".git", "__pycache__", ".DS_Store"})
"""Left out of folders: never wanted on a host."""

_MODIFIED = 315_532_800  # 1980-01-01: the oldest date that zip, and so Python wheels, can hold


class ArchiveError(Exception):
    """The files can't be packed; the text says which, why, and the way out."""


def pack(mappings: Sequence[FileMapping]) -> BinaryIO:
    """An open temporary file with the archive, at its start; it goes when it is closed. Raises ``ArchiveError``."""
    archive: BinaryIO = tempfile.TemporaryFile(prefix="rallypoint-")  # noqa: SIM115
    try:
        _write(archive, mappings)
    except OSError as error:
        archive.close()
        where = error.filename or "the temporary folder"
        raise ArchiveError(f"files: {where}: {error.strerror or error}; check the path and its permissions") from None
    except BaseException:
        archive.close()
        raise
    archive.seek(0)
    return archive


def _write(archive: BinaryIO, mappings: Sequence[FileMapping]) -> None:
    entries: dict[str, Path] = {}
    for mapping in mappings:
        for remote, local in _entries(Path(mapping.local).resolve(), mapping.remote):
            if entries.setdefault(remote, local) != local:
                raise ArchiveError(f"files: {entries[remote]} and {local} both go to {remote}; give one another place")
            if len(entries) > MAX_ENTRIES:
                raise ArchiveError(f"files: more than {MAX_ENTRIES} files; {_TOO_MUCH}")
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for remote in sorted(entries):
            _add(tar, remote, entries)
            if archive.tell() > MAX_BYTES:
                raise ArchiveError(f"files: more than {MAX_BYTES // 1024**3} GB; {_TOO_MUCH}")


_TOO_MUCH = "name only what the job needs, and leave data on storage that the hosts share"


def _entries(local: Path, remote: str) -> Iterator[tuple[str, Path]]:
    if local.is_symlink() or not local.is_dir():
        yield remote, local
        return
    if remote != ".":
        yield remote, local
    for each in sorted(os.scandir(local), key=lambda entry: entry.name):
        if each.name not in SKIPPED:
            yield from _entries(Path(each.path), posixpath.normpath(posixpath.join(remote, each.name)))


def _add(tar: tarfile.TarFile, remote: str, entries: dict[str, Path]) -> None:
    local = entries[remote]
    info = tarfile.TarInfo(remote)
    status = local.lstat()
    info.mtime = _MODIFIED
    info.mode = 0o755 if status.st_mode & stat.S_IXUSR or stat.S_ISDIR(status.st_mode) else 0o644
    if stat.S_ISLNK(status.st_mode):
        info.type, info.mode, info.linkname = tarfile.SYMTYPE, 0o777, _link(remote, local, entries)
        tar.addfile(info)
    elif stat.S_ISDIR(status.st_mode):
        info.type = tarfile.DIRTYPE
        tar.addfile(info)
    elif stat.S_ISREG(status.st_mode):
        with local.open("rb") as content:
            info.size = os.fstat(content.fileno()).st_size
            tar.addfile(info, content)
    else:
        raise ArchiveError(f"files: {local} is neither a file nor a folder; only those can be sent; leave it out")


def _link(remote: str, local: Path, entries: dict[str, Path]) -> str:
    target = os.readlink(local).replace(os.sep, "/")
    landing = posixpath.normpath(posixpath.join(posixpath.dirname(remote), target))
    if posixpath.isabs(target) or (landing not in entries and landing != "."):
        raise ArchiveError(
            f"files: {local} is a link to {target}, outside of what is sent; send the target under a name of its own"
        )
    return target
