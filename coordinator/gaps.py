"""Gaps in stored output: which bytes were dropped and why. Offsets stay what they were for the process that wrote.

A log's gaps are in a file beside it. The file is on disk before a byte is freed or the log goes on behind a gap, so
that zeros in the log are never taken for output, whoever is killed, and whenever.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rallypoint.files import write_private

# A host's words; they go to terminals.
_MAX_REASON = 200


@dataclass(frozen=True, slots=True)
class Gap:
    """Bytes from ``start`` to before ``end`` that are not kept; ``reason`` says why: "the host's log limit"."""

    start: int
    end: int
    reason: str


Gaps = tuple[Gap, ...]


def with_gap(gaps: Gaps, new: Gap) -> Gaps:
    """The gaps and a new one, in order. One within the new one is part of it; one that it touches is continued."""
    start, end = new.start, new.end
    kept: list[Gap] = []
    for gap in gaps:
        touches = gap.end >= start and gap.start <= end
        if touches and (gap.reason == new.reason or (gap.end > start and gap.start < end)):
            start, end = min(start, gap.start), max(end, gap.end)
        else:
            kept.append(gap)
    return tuple(sorted([*kept, Gap(start, end, new.reason)], key=lambda gap: gap.start))


def dropped_bytes(gaps: Gaps) -> int:
    """All bytes that are not kept."""
    return sum(gap.end - gap.start for gap in gaps)


def kept_ranges(gaps: Gaps, size: int) -> Iterator[tuple[int, int]]:
    """Where bytes are kept in a log of ``size``: start and end of each run, in order."""
    at = 0
    for gap in gaps:
        if gap.start > at:
            yield at, gap.start
        at = gap.end
    if size > at:
        yield at, size


def mark(amount: int, reason: str) -> str:
    """A gap for people: ``[123.4 MB of output dropped here: the host's log limit of 256 MB]``."""
    return f"[{amount_text(amount)} of output dropped here{f': {reason}' if reason else ''}]"


def amount_text(size: int) -> str:
    """Bytes for people: ``123.4 MB``."""
    for unit, factor in (("GB", 1 << 30), ("MB", 1 << 20), ("KB", 1 << 10)):
        if size >= factor:
            return f"{size / factor:.1f} {unit}"
    return f"{size} byte{'' if size == 1 else 's'}"


def tame_reason(text: str) -> str:
    """A host's reason as it may be shown: one short line that can't drive a terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in text[:_MAX_REASON])


def gaps_path(log: Path) -> Path:
    """The file of a log's gaps, which is there only if it has any."""
    return log.with_suffix(".gaps")


def load_gaps(path: Path, size: int) -> Gaps:
    """The gaps in a log of ``size`` whose file of gaps is ``path``.

    One that begins at the log's end was noted by someone who did not live to go on behind it: it is no gap yet.
    """
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return ()
    found = (Gap(start, min(end, size), reason) for start, end, reason in json.loads(text))
    return tuple(gap for gap in found if gap.start < gap.end)


def save_gaps(path: Path, gaps: Gaps) -> None:
    """Put gaps on disk, all or nothing. Raises OSError."""
    write_private(path, to_json(gaps))


def to_json(gaps: Gaps) -> bytes:
    """As they stand in their file."""
    return json.dumps([[gap.start, gap.end, gap.reason] for gap in gaps]).encode()
