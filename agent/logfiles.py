"""The files of `agent.core.outflow`: sizes, pieces, and giving room back. Blocking; for one thread at a time."""

from __future__ import annotations

import contextlib
import json
import os
import zlib
from typing import TYPE_CHECKING

import structlog
from rallypoint.holes import can_free, free_blocks

from agent.core.model import AllocationId
from agent.core.outflow import Record

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from agent.core.outflow import Free, Send
    from agent.places import Places

log = structlog.get_logger()

# Of each of the two copies of the records: enough for a thousand logs that flood at once.
_SLOT_BYTES = 64 * 1024
_HEAD_BYTES = 16


class LogFiles:
    """The output files in ``places``. ``frees`` tells whether their file system can free the beginning of a file."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._store = RecordFile(places.state / "logs.state")
        self._saved: Mapping[AllocationId, Record] = {}
        # File and how many of its first bytes; kept until it was done.
        self._pending: dict[AllocationId, int] = {}
        self.frees = False

    def open(self) -> dict[AllocationId, Record]:
        """Look what can be done here; the records of the logs that are still there."""
        try:
            self.frees = can_free(self._places.logs)
        except OSError:
            # A full disk takes no file to try with: where it can't be done, freeing will say so.
            self.frees = True
        if not self.frees:
            log.warning("logs.not_bounded", directory=str(self._places.logs), reason="its file system frees no holes")
        known = {key: record for key, record in self._store.load().items() if self.size(key) is not None}
        with contextlib.suppress(OSError):
            # Now, when there is room for it.
            self._store.save(known)
        self._saved = known
        return known

    def size(self, key: AllocationId) -> int | None:
        """Bytes in the file; None without one."""
        try:
            return os.stat(self._places.log_of(key)).st_size
        except OSError:
            return None

    def free_bytes(self) -> int | None:
        """Free bytes of the disk, as an ordinary user may use them; None when it does not tell."""
        try:
            disk = os.statvfs(self._places.logs)
        except OSError:
            return None
        return disk.f_bavail * disk.f_frsize

    def read(self, send: Send) -> bytes:
        """The bytes to send; fewer, or none, when the file has no more."""
        if not send.length:
            return b""
        try:
            file = os.open(self._places.log_of(send.key), os.O_RDONLY)
        except OSError:
            return b""
        try:
            return os.pread(file, send.length, send.place)
        except OSError:
            return b""
        finally:
            os.close(file)

    def keep(self, records: Mapping[AllocationId, Record], frees: Iterable[Free]) -> None:
        """Put records on disk, then free what they say is gone. What fails is logged, and done next time."""
        self._pending.update((free.key, free.end) for free in frees)
        try:
            if records != self._saved:
                self._store.save(records)
                self._saved = dict(records)
            while self._pending:
                self._free(*next(iter(self._pending.items())))
        except OSError as error:
            log.warning("logs.not_freed", reason=f"{error.filename or self._places.logs}: {error.strerror}")

    def _free(self, key: AllocationId, end: int) -> None:
        try:
            file = os.open(self._places.log_of(key), os.O_WRONLY)
        except FileNotFoundError:
            del self._pending[key]
            return
        try:
            free_blocks(file, 0, end)
        finally:
            os.close(file)
        del self._pending[key]


class RecordFile:
    """Two copies with room laid up, the older one of which is written over: a full disk or a crash loses neither."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._number = 0

    def load(self) -> dict[AllocationId, Record]:
        """The newer whole copy; nothing when there is none."""
        try:
            data = self._path.read_bytes()
        except OSError:
            return {}
        copies = (_unpacked(data[at : at + _SLOT_BYTES]) for at in (0, _SLOT_BYTES))
        found = max((copy for copy in copies if copy is not None), key=lambda copy: copy[0], default=None)
        if found is None:
            return {}
        self._number = found[0]
        return {AllocationId(key): Record(*fields) for key, fields in json.loads(found[1]).items()}

    def save(self, records: Mapping[AllocationId, Record]) -> None:
        """Write the older copy anew, and on disk when it returns. Raises OSError."""
        text = json.dumps({key: [record.base, record.floor] for key, record in records.items()}).encode()
        if len(text) > _SLOT_BYTES - _HEAD_BYTES:
            raise OSError(27, "too many logs at once are longer than their limit", str(self._path))
        number = self._number + 1
        file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            if os.fstat(file).st_size < 2 * _SLOT_BYTES:
                os.pwrite(file, bytes(2 * _SLOT_BYTES), 0)
                os.fsync(file)
            head = number.to_bytes(8, "big") + len(text).to_bytes(4, "big") + zlib.crc32(text).to_bytes(4, "big")
            os.pwrite(file, head + text, number % 2 * _SLOT_BYTES)
            os.fdatasync(file)
        finally:
            os.close(file)
        self._number = number


def _unpacked(copy: bytes) -> tuple[int, bytes] | None:
    number, length = int.from_bytes(copy[:8], "big"), int.from_bytes(copy[8:12], "big")
    text = copy[_HEAD_BYTES : _HEAD_BYTES + length]
    whole = number > 0 and zlib.crc32(text) == int.from_bytes(copy[12:_HEAD_BYTES], "big") and len(text) == length
    return (number, text) if whole else None
