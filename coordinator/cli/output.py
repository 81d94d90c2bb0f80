"""A job's output on the screen: bytes as they came, with a rank before each line when there are several nodes."""

from __future__ import annotations

import os
import sys
import threading
from typing import BinaryIO, Protocol

MAX_PENDING = 1024 * 1024
"""A line longer than this is printed in pieces, so that memory stays bounded whatever a program prints."""

_CLEAR_LINE = b"\r\x1b[2K"
_RANK_COLOURS = (36, 33, 32, 35, 34, 96, 93, 92, 95, 94)


class Sink(Protocol):
    """Where output goes."""

    def write(self, data: bytes) -> None:
        """Print whole or partial lines."""


class Screen:
    """Standard output for a job's bytes, standard error for lines about it and, when ``live``, a status line below."""

    def __init__(self) -> None:
        self._out: BinaryIO = sys.stdout.buffer
        self._err: BinaryIO = sys.stderr.buffer
        self.live = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self._same_place = sys.stdout.isatty() and sys.stderr.isatty()
        self._status = b""
        self._shown = False
        self._at_line_start = True
        self._lock = threading.Lock()

    @property
    def colours(self) -> bool:
        """Whether colours are wanted where a job's output goes."""
        return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"

    def write(self, data: bytes) -> None:
        """Print a job's output."""
        with self._lock:
            self._hide()
            self._out.write(data)
            self._out.flush()
            if data:
                self._at_line_start = data.endswith(b"\n")
            self._show()

    def say(self, text: str) -> None:
        """Print a line about the job."""
        with self._lock:
            self._hide()
            if self._same_place and not self._at_line_start:
                self._err.write(b"\n")
                self._at_line_start = True
            self._err.write(text.encode(errors="replace") + b"\n")
            self._err.flush()
            self._show()

    def status(self, text: str) -> None:
        """Show what the job does now: in place on a terminal, as a line elsewhere. An empty text takes it away."""
        if not self.live:
            if text:
                self.say(text)
            return
        with self._lock:
            self._hide()
            self._status = text.encode(errors="replace")[: _width()]
            self._show()

    def _hide(self) -> None:
        if self._shown:
            self._err.write(_CLEAR_LINE)
            self._err.flush()
            self._shown = False

    def _show(self) -> None:
        # A partial line of output would be overwritten; the status waits for the line's end.
        if self.live and self._status and self._at_line_start:
            self._err.write(self._status)
            self._err.flush()
            self._shown = True


def _width() -> int:
    return (os.get_terminal_size(sys.stderr.fileno()).columns or 80) - 1


class RankedLines:
    """Gathers each rank's bytes into lines and prints them as ``[3] line``; lines of different ranks never mix."""

    def __init__(self, sink: Sink, *, colours: bool) -> None:
        self._sink = sink
        self._colours = colours
        self._pending: dict[int, bytearray] = {}
        self._attempts: dict[int, int] = {}
        self._open: int | None = None
        """The rank whose unfinished, too long line is on the screen."""

    def feed(self, rank: int, attempt: int, data: bytes) -> None:
        """Take output of one rank."""
        if self._attempts.setdefault(rank, attempt) != attempt:
            self._finish(rank)  # what an earlier attempt left half said is a line of its own
            self._attempts[rank] = attempt
        pending = self._pending.setdefault(rank, bytearray())
        pending += data
        end = pending.rfind(b"\n") + 1
        if end:
            self._lines(rank, bytes(pending[:end]))
            del pending[:end]
        if len(pending) > MAX_PENDING:
            self._piece(rank, bytes(pending))
            pending.clear()

    def end(self, rank: int) -> None:
        """What comes next of this rank does not continue its line: some of its output is missing between."""
        self._finish(rank)
        if self._open == rank:
            self._sink.write(b"\n")
            self._open = None

    def flush(self) -> None:
        """Print what has no line end yet."""
        for rank in sorted(self._pending):
            self._finish(rank)
        if self._open is not None:
            self._sink.write(b"\n")
            self._open = None

    def _finish(self, rank: int) -> None:
        pending = self._pending.pop(rank, bytearray())
        if pending:
            self._lines(rank, bytes(pending) + b"\n")

    def _lines(self, rank: int, text: bytes) -> None:
        prefix = self._prefix(rank)
        lines = text.removesuffix(b"\n").split(b"\n")
        parts = [prefix + line + b"\n" for line in lines]
        if self._open == rank:
            parts[0] = lines[0] + b"\n"
        elif self._open is not None:
            parts.insert(0, b"\n")
        self._open = None
        self._sink.write(b"".join(parts))

    def _piece(self, rank: int, text: bytes) -> None:
        if self._open != rank:
            text = (b"\n" if self._open is not None else b"") + self._prefix(rank) + text
        self._open = rank
        self._sink.write(text)

    def _prefix(self, rank: int) -> bytes:
        if not self._colours:
            return b"[%d] " % rank
        return b"\x1b[%dm[%d]\x1b[0m " % (_RANK_COLOURS[rank % len(_RANK_COLOURS)], rank)
