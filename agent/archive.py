"""A job's files: fetched once by hash, checked, and unpacked where they can do no harm."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import re
import tarfile
from collections import Counter
from copy import copy
from typing import TYPE_CHECKING, Any

import structlog

from agent.closed import for_owner
from agent.ownership import give

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from agent.users import Account

log = structlog.get_logger()

RETRY_SECONDS = 0.5
_SHA256 = re.compile(r"[0-9a-f]{64}")


class ArchiveError(Exception):
    """A job's files are not to be had or not fit to unpack: the message is the reason, for the user."""


class FetchCut(Exception):
    """The coordinator went away meanwhile, which says nothing of the files: they are to be fetched again."""


class ArchiveCache:
    """Archives in ``directory``; ``fetch(sha256)`` gives one's bytes from the coordinator.

    Those that were used last are kept, ``keep`` bytes in all; what a dead agent left half fetched is removed.
    """

    def __init__(self, directory: Path, fetch: Callable[[str], AsyncIterator[bytes]], keep: int) -> None:
        self._dir = directory
        self._fetch = fetch
        self._keep = keep
        self._locks: dict[str, asyncio.Lock] = {}
        self._in_use: Counter[Path] = Counter()
        for half in directory.glob("*.part"):
            half.unlink()

    async def unpack(self, sha256: str, target: str, owner: Account | None = None) -> None:
        """Unpack the archive ``sha256`` into ``target``, and give all that is in there to ``owner``, if there is one.

        Raises:
            ArchiveError: it is not to be had, is not what its hash says, or holds what may not be unpacked.
            OSError: this host's disk does not take it.
        """
        if not _SHA256.fullmatch(sha256):
            raise ArchiveError(f"files {sha256[:70]!r}: not a SHA-256")
        path = self._dir / f"{sha256}.tar"
        self._in_use[path] += 1
        try:
            async with self._locks.setdefault(sha256, asyncio.Lock()):
                await self._cache(sha256, path)
            await asyncio.to_thread(_unpack, path, target)
            if owner is not None:
                await asyncio.to_thread(give, target, owner)
        finally:
            self._in_use[path] -= 1
            self._prune()

    async def _cache(self, sha256: str, path: Path) -> None:
        if _touched(path):
            return
        part = path.with_suffix(".part")
        digest = None
        while digest is None:
            # Who is not to run any more is cancelled: this may go on for as long as the coordinator is away.
            digest = await self._receive(sha256, part)
            if digest is None:
                await asyncio.sleep(RETRY_SECONDS)
        if digest != sha256:
            part.unlink()
            raise ArchiveError(f"files {sha256[:12]}: what the coordinator sent has another hash; submit the job again")
        part.rename(path)

    async def _receive(self, sha256: str, part: Path) -> str | None:
        """Bring the archive's bytes to the disk; their hash, or nothing when that was cut off."""
        digest = hashlib.sha256()
        try:
            with open(part, "wb", opener=for_owner) as file:  # noqa: ASYNC230 - a local file, written in small pieces
                async for data in self._fetch(sha256):
                    digest.update(data)
                    file.write(data)
                file.flush()
                # Before it gets its name: what has one after a crash of the machine is taken as it is.
                await asyncio.to_thread(os.fsync, file.fileno())
        except FetchCut as error:
            log.info("archive.fetch_cut", archive=sha256[:12], reason=str(error))
            return None
        except OSError as error:
            _check_disk(error, self._dir)
            raise ArchiveError(f"files {sha256[:12]}: {error.strerror or error}") from None
        return digest.hexdigest()

    def _prune(self) -> None:
        """Remove those that were not used for the longest time, if all together are too large."""
        found = [(path, path.stat()) for path in self._dir.glob("*.tar")]
        excess = sum(info.st_size for _, info in found) - self._keep
        for path, info in sorted(found, key=lambda each: each[1].st_mtime_ns):
            if excess > 0 and not self._in_use[path]:
                path.unlink(missing_ok=True)
                excess -= info.st_size
        self._in_use = +self._in_use


def _touched(path: Path) -> bool:
    """Note that an archive is used now; whether it is here."""
    try:
        os.utime(path)
    except FileNotFoundError:
        return False
    return True


# `extract` of newer Pythons wants to be told that the members were looked at; that of Debian 12 (3.11.2) knows no
# filters, so that the look has to be ours.
_LOOKED_AT: dict[str, Any] = {"filter": "fully_trusted"} if hasattr(tarfile, "fully_trusted_filter") else {}


def _unpack(path: Path, target: str) -> None:
    root = os.path.realpath(target)
    try:
        with tarfile.open(path) as archive:
            # One by one: where a name leads depends on the links that were unpacked before it.
            for member in archive:
                archive.extract(_tamed(member, root), root, **_LOOKED_AT)
    except (tarfile.TarError, OSError, EOFError) as error:
        if isinstance(error, OSError):
            _check_disk(error, target)
        raise ArchiveError(f"files {path.stem[:12]} could not be unpacked: {error}") from None


def _check_disk(error: OSError, directory: Path | str) -> None:
    """Raise an ``OSError`` that names ``directory`` if the fault is the disk's, and none of the archive's."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO):
        raise OSError(error.errno, error.strerror, str(directory)) from None


def _tamed(member: tarfile.TarInfo, root: str) -> tarfile.TarInfo:
    """The member as it may be unpacked: inside of ``root``, this user's own, writable by nobody else, not set-uid.

    Raises:
        tarfile.TarError: it lies or leads outside, or is no file, folder or link.
    """
    if not (member.isreg() or member.isdir() or member.issym() or member.islnk()):
        raise tarfile.TarError(f"{member.name!r} is no file, folder or link")
    tame = copy(member)
    tame.name = member.name.lstrip("/")
    places = [tame.name]
    if member.issym():
        places.append(os.path.join(os.path.dirname(tame.name), member.linkname))
    elif member.islnk():
        places.append(member.linkname)
    for place in places:
        # An absolute place takes the root's: it is judged by where it really lies.
        lies = os.path.realpath(os.path.join(root, place))
        if os.path.commonpath((root, lies)) != root:
            raise tarfile.TarError(f"{member.name!r} lies or leads outside of the job's folder")
    tame.mode = member.mode & 0o755 | (0o700 if member.isdir() else 0o600)
    tame.uid, tame.gid, tame.uname, tame.gname = os.getuid(), os.getgid(), "", ""
    return tame
