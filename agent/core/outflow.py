"""What to send of this host's logs, what to let go of, and when. Pure: files, calls and clocks are the caller's.

`agent.logs` runs this over real files; a simulator can run it over its own: call :meth:`Outflow.look` with the files as
they are (and free what it answers), :meth:`Outflow.plan` when no call is under way, then :meth:`Outflow.answered` or
:meth:`Outflow.failed`, and take :meth:`Outflow.finished` for done.

A log's offsets count all bytes that its process ever wrote. The oldest bytes of a file are freed when it grows too
long; those among them that the coordinator does not have are a gap, which the next chunk tells: "so many bytes before
this one were dropped". What the coordinator has acknowledged is never a gap.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from agent.core.model import AllocationId

MB = 1 << 20
# A log with no more than this to send is small: it is sent at once, before what floods.
SMALL_BYTES = 64 * 1024
# One call's worth, at most and at least: on a slow link a large one would hold up the heartbeats behind it.
MOST_BYTES = 1 * MB
LEAST_BYTES = 16 * 1024
# Beyond what the way there and back takes by itself; a call that takes LONG_SECONDS in all is large enough.
SLOW_SECONDS, FAST_SECONDS, LONG_SECONDS = 0.5, 0.1, 1.5
RETRY_SECONDS = 1.0
# Whatever has to go, so much of each log stays.
LAST_BYTES = 1 * MB

EMPTIED = "the program emptied its output file"
GONE = "its output file is gone from the host"
NO_SPACE = "the host's disk is nearly full"


@dataclass(frozen=True, slots=True)
class Limits:
    """``keep`` bytes of one node's output and ``total`` of all together stay on this host; ``rate`` a second go out.

    ``reserve`` bytes of its disk are to be free. None is for a limit that does not hold.
    """

    keep: int | None = 256 * MB
    total: int | None = 4096 * MB
    rate: int = 16 * MB
    reserve: int = 0


@dataclass(frozen=True, slots=True)
class Look:
    """A log's file now: its size, None without one; with ``ended`` the ``final`` size that the spawner saw.

    ``torn``: its machine died since; the end of what was written may be missing, and nothing in the file is new.
    """

    key: AllocationId
    size: int | None
    ended: bool = False
    final: int = 0
    torn: bool = False


@dataclass(frozen=True, slots=True)
class Record:
    """What must outlive the agent: the offset of a file's first byte, and that of the first one that is still there."""

    base: int = 0
    floor: int = 0


@dataclass(frozen=True, slots=True)
class Free:
    """The first ``end`` bytes of a log's file are not needed any more. The records come first, on disk."""

    key: AllocationId
    end: int


@dataclass(frozen=True, slots=True)
class Send:
    """``length`` bytes, at ``place`` in a log's file, go to ``offset``; ``dropped`` bytes before them are a gap."""

    key: AllocationId
    offset: int
    place: int
    length: int
    dropped: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Position:
    """How much of a log the coordinator has; ``unknown``: it wants no more of it."""

    allocation: AllocationId
    offset: int
    unknown: bool = False


@dataclass(slots=True)
class _Log:
    """One log; ``reason`` is why bytes below the floor are gone, ``base`` the offset of the file's first byte."""

    base: int = 0
    floor: int = 0
    size: int = 0
    acked: int = 0
    reason: str = ""
    ended: bool = False
    there: bool = True
    unwanted: bool = False
    unsure: bool = False
    torn: bool = False

    @property
    def held(self) -> int:
        return self.size - self.floor

    @property
    def unsent(self) -> int:
        return self.size - max(self.acked, self.floor)

    def see(self, look: Look) -> None:
        """Take in the file as it is."""
        self.ended, self.torn = look.ended, look.torn
        if look.size is None:
            self._see_none(look)
        elif not self.there or look.size < self.size - self.base:
            # Someone emptied it: what comes now goes on where the old bytes ended.
            self.reason = EMPTIED if self.there else GONE
            self.there, self.base, self.floor = True, self.size, self.size
            self.size += look.size
        else:
            self.size = self.base + look.size

    def _see_none(self, look: Look) -> None:
        if self.there and look.ended:
            # Readers wait for as many bytes as were reported: the rest is a gap.
            self.size = max(self.size, self.base + look.final)
        self.there, self.floor, self.reason = False, self.size, GONE

    def let_go(self, end: int, reason: str) -> None:
        self.floor = end
        if end > self.acked:
            self.reason = reason


@dataclass(slots=True)
class _Pace:
    """How large the next call may be, and how much of a flood may go out by now."""

    rate: int
    # Begins small: how fast the link is, is not known.
    call: int = SMALL_BYTES
    # What a call takes that carries next to nothing.
    way: float = 0.0
    tokens: float = 0.0
    filled_at: float | None = None
    sent_at: float = 0.0
    not_before: float = 0.0

    def fill(self, now: float) -> None:
        since = 1.0 if self.filled_at is None else now - self.filled_at
        # A second's worth is saved up: what a program prints now and then is not held up.
        self.tokens = min(float(self.rate), self.tokens + since * self.rate)
        self.filled_at = now

    def answered(self, now: float) -> None:
        took = now - self.sent_at
        if self.call == LEAST_BYTES:
            # A long way is not a slow one: with calls so small its line would stay empty.
            self.way = took
        beyond = took - self.way
        if beyond > SLOW_SECONDS:
            self.call = max(LEAST_BYTES, self.call // 2)
        elif beyond < FAST_SECONDS and took < LONG_SECONDS:
            self.call = min(MOST_BYTES, self.call * 2)

    def failed(self, now: float) -> None:
        self.not_before = now + RETRY_SECONDS
        self.call = max(LEAST_BYTES, self.call // 2)


class Outflow:
    """All logs of one host. ``records`` are those of an earlier life of the agent; times are of one monotonic clock."""

    def __init__(self, limits: Limits, records: Mapping[AllocationId, Record] | None = None) -> None:
        self._limits = limits
        self._pace = _Pace(limits.rate)
        self._records = dict(records or {})
        self._logs: dict[AllocationId, _Log] = {}
        self._turn = 0

    # --- files ------------------------------------------------------------------------------------------------------

    def look(self, looks: Iterable[Look], free: int | None = None) -> list[Free]:
        """Take in the files of all logs that matter, and the ``free`` bytes of their disk; what is to be freed.

        The caller puts :meth:`records` on disk before it frees anything.
        """
        before = {key: log.floor for key, log in self._logs.items()}
        now = {look.key: look for look in looks}
        for key in before.keys() - now.keys():
            del self._logs[key]
        for key, look in now.items():
            self._log(key).see(look)
        self._bound()
        if free is not None and free < self._limits.reserve:
            self._make_room(free)
        return [
            Free(key, log.floor - log.base)
            for key, log in self._logs.items()
            if log.there and log.floor > max(before.get(key, 0), log.base)
        ]

    def records(self) -> dict[AllocationId, Record]:
        """What must outlive the agent; of most logs nothing."""
        known = {key: Record(log.base, log.floor) for key, log in self._logs.items() if log.floor}
        return {**self._records, **known}

    def _log(self, key: AllocationId) -> _Log:
        if key not in self._logs:
            record = self._records.pop(key, Record())
            # Nothing is known of what the coordinator has: its answer to the first chunk tells.
            self._logs[key] = _Log(record.base, record.floor, max(record.base, record.floor))
        return self._logs[key]

    def _bound(self) -> None:
        keep, total = self._limits.keep, self._limits.total
        if keep is not None:
            for log in self._logs.values():
                if log.held > keep:
                    # Some more than is too much: freeing is not for every look.
                    end = log.floor + log.held - keep + keep // 8
                    log.let_go(end, f"the host's log limit of {keep / MB:g} MB")
        if total is not None:
            excess = sum(log.held for log in self._logs.values()) - total
            if excess > 0:
                self._shed(excess + total // 8, f"the host's limit of {total / MB:g} MB for all logs", True)

    def _make_room(self, free: int) -> None:
        if self._limits.keep is None:
            return
        self._shed(self._limits.reserve - free, NO_SPACE, drop=False)
        # What nobody has yet goes last: when half of the reserve is used up.
        excess = self._limits.reserve // 2 - free
        if excess > 0:
            self._shed(excess, NO_SPACE, drop=True)

    def _shed(self, excess: int, reason: str, drop: bool) -> None:
        """Let go of ``excess`` bytes of the longest logs: what the coordinator has, and then, to ``drop``, the rest."""
        longest = sorted(self._logs.values(), key=lambda log: -log.held)
        for log in longest:
            spare = min(log.acked, log.size) - log.floor
            if excess > 0 and spare >= SMALL_BYTES:
                log.let_go(log.floor + spare, reason)
                excess -= spare
        for log in longest if drop else ():
            spare = min(excess, log.held - LAST_BYTES)
            if spare > 0:
                log.let_go(log.floor + spare, reason)
                excess -= spare

    # --- calls ------------------------------------------------------------------------------------------------------

    def plan(self, now: float) -> list[Send]:
        """What goes into the next call, small logs first; nothing when it is not yet time."""
        if now < self._pace.not_before:
            return []
        self._pace.fill(now)
        waiting = [(key, log) for key, log in self._logs.items() if self._waits(log)]
        # Each call begins with another log, so that none is held up by those before it.
        self._turn += 1
        start = self._turn % len(waiting) if waiting else 0
        waiting = waiting[start:] + waiting[:start]
        room = self._pace.call
        sends: list[Send] = []
        for key, log in waiting:
            if log.unsure:
                sends.append(_send(key, log, 0))
            elif log.unsent <= SMALL_BYTES and log.unsent <= room:
                sends.append(_send(key, log, log.unsent))
                room -= log.unsent
        large = min(SMALL_BYTES, self._pace.call)
        floods = [(key, log) for key, log in waiting if log.unsent > large and not log.unsure]
        room = min(room, int(self._pace.tokens))
        for place, (key, log) in enumerate(floods):
            share = min(log.unsent, max(LEAST_BYTES, room // (len(floods) - place)))
            if share <= room:
                sends.append(_send(key, log, share))
                room -= share
                self._pace.tokens -= share
        self._pace.sent_at = now
        return sends

    def _waits(self, log: _Log) -> bool:
        return not log.unwanted and (log.unsure or log.acked < log.size)

    def ask_again(self) -> None:
        """The coordinator may have less than it had: of each log the next chunk only asks."""
        for log in self._logs.values():
            log.unsure = log.acked > 0

    def answered(self, positions: Iterable[Position], now: float) -> None:
        """The call was answered with what the coordinator has."""
        self._pace.answered(now)
        for position in positions:
            log = self._logs.get(position.allocation)
            if log is None:
                continue
            log.unwanted, log.unsure = position.unknown, False
            log.acked = position.offset
            if log.acked > log.size and not log.unwanted and not log.torn:
                # It has more than was ever here: the file was emptied while no agent looked.
                log.size += log.acked - log.base
                log.base = log.floor = log.acked

    def failed(self, now: float) -> None:
        """The call was not answered: it may have arrived or not."""
        self._pace.failed(now)

    def finished(self) -> list[AllocationId]:
        """Logs that have ended and of which the coordinator has all, or wants no more; they are forgotten."""
        done = [key for key, log in self._logs.items() if log.ended and not self._waits(log)]
        for key in done:
            del self._logs[key]
        return done


def _send(key: AllocationId, log: _Log, length: int) -> Send:
    offset = max(log.acked, log.floor)
    return Send(key, offset, offset - log.base, length, offset - log.acked, log.reason if offset > log.acked else "")
