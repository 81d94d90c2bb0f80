"""What the spawner must not forget: one append-only file of JSON lines.

A task's life is ``starting`` (before the spawn, so that a crash right after it leaves a trace), ``started``, ``ended``
(its main process), ``exited`` (all of it) and ``forgotten``. Lines are in the page cache at once, which survives the
death of any process; :meth:`Journal.sync` makes them survive the machine's.
"""

import errno
import json
import os

from rallypoint.holes import reserve_blocks

# The file is written anew when it has grown by this much since it last was.
COMPACT_BYTES = 8 * 1024 * 1024

# Room that is kept for a thousand lines or so.
LAID_UP_BYTES = 256 * 1024

Record = dict[str, object]


class Journal:
    """The journal at ``path``; opening reads it, drops what was forgotten and writes it anew."""

    __slots__ = ("_compacted", "_fd", "_laid_up", "_lines", "_size", "_unsynced", "path", "records")

    def __init__(self, path: str) -> None:
        self.path = path
        self._lines: list[bytes] = []
        self._fd = -1
        self._size = 0
        self._compacted = 0
        self._unsynced = False
        self._laid_up = 0
        self.records: dict[str, Record] = read_journal(path)
        self._compact()

    def add(self, kind: str, task: str, **fields: object) -> None:
        """Note a step of ``task``'s life; in the file after the next :meth:`write` or :meth:`sync`."""
        line = {"kind": kind, "id": task, **fields}
        _apply(self.records, line)
        self._lines.append(json.dumps(line, separators=(",", ":")).encode() + b"\n")

    def take_back(self, task: str) -> None:
        """Unsay the last line, which was ``task``'s first and which :meth:`write` could not write."""
        del self.records[task], self._lines[-1]

    def write(self) -> None:
        """Hand all lines to the kernel: they survive this process.

        Raises:
            OSError: the disk is full or fails; the lines are kept for the next call.
        """
        if not self._lines:
            return
        data = b"".join(self._lines)
        written = os.write(self._fd, data)
        if written < len(data):
            # Take the torn part back, or the next line would be glued to it.
            os.ftruncate(self._fd, self._size)
            raise OSError(28, "no space left for the journal", self.path)
        self._lines.clear()
        self._size += written
        self._unsynced = True
        if self._size - self._compacted > COMPACT_BYTES:
            self._compact()
        self._lay_up()

    def check_room(self) -> None:
        """Look whether the disk takes more than what is laid up, which is for ends alone.

        Raises:
            OSError: it is full.
        """
        disk = os.statvfs(self.path)
        if disk.f_blocks and not disk.f_bavail:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self.path)

    def sync(self) -> None:
        """Like :meth:`write`, and on the disk when it returns."""
        self.write()
        if self._unsynced:
            os.fdatasync(self._fd)
            self._unsynced = False

    def _compact(self) -> None:
        lines = []
        for task, record in self.records.items():
            lines.append(json.dumps({"kind": "whole", "id": task, **record}, separators=(",", ":")).encode() + b"\n")
        fresh = self.path + ".new"
        fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
        data = b"".join(lines)
        if os.write(fd, data) < len(data):
            os.close(fd)
            raise OSError(28, "no space left for the journal", fresh)
        os.fdatasync(fd)
        os.rename(fresh, self.path)
        _sync_directory(os.path.dirname(self.path) or ".")
        if self._fd >= 0:
            os.close(self._fd)
        self._fd, self._size, self._compacted, self._laid_up = fd, len(data), len(data), 0
        self._lay_up()

    def _lay_up(self) -> None:
        """Keep room behind the journal's end, so that a task's end is recorded also on a disk that has become full."""
        if self._laid_up - self._size < LAID_UP_BYTES // 2:
            try:
                if reserve_blocks(self._fd, self._size, LAID_UP_BYTES):
                    self._laid_up = self._size + LAID_UP_BYTES
            except OSError:
                return  # there is no room now: tried again with the next line


def read_journal(path: str) -> dict[str, Record]:
    """What the journal at ``path`` says of each task; none if there is no such file."""
    records: dict[str, Record] = {}
    try:
        with open(path, "rb") as file:
            for line in file:
                try:
                    _apply(records, json.loads(line))
                except ValueError:
                    # A crash of the machine can tear the last line; what it said was not acknowledged.
                    continue
    except FileNotFoundError:
        pass
    return records


def _apply(records: dict[str, Record], line: Record) -> None:
    fields = {key: value for key, value in line.items() if key not in ("kind", "id")}
    task = str(line["id"])
    if line["kind"] == "forgotten":
        records.pop(task, None)
    elif line["kind"] in ("whole", "starting"):
        records[task] = fields
    elif task in records:
        records[task].update(fields)


def _sync_directory(path: str) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
