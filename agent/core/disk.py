"""When a disk is too full for more work. Pure: sizes are arguments."""

from __future__ import annotations

from dataclasses import dataclass

GB = 1 << 30
# Room for what runs to go on and end: output, files, the journal. On a small disk a twentieth of it, for it must be
# usable, too.
_MOST = GB
_SHARE = 20
# Room comes and goes by a little; a host must not.
_MARGIN = 1.25


@dataclass(frozen=True, slots=True)
class Room:
    """A disk at ``path``: sizes in bytes, ``free`` as an ordinary user may use it."""

    path: str
    total: int
    free: int


def reserve_of(total: int, wanted: int | None) -> int:
    """Bytes of a disk of ``total`` that new work leaves free; ``wanted`` is what the host's owner says, if anything."""
    return min(_MOST, total // _SHARE) if wanted is None else wanted


def problem(rooms: list[Room], wanted: int | None, before: bool) -> str:
    """Why no new work should come, with the numbers; empty when it may. ``before``: whether there was a problem."""
    for room in rooms:
        reserve = reserve_of(room.total, wanted)
        if room.free < reserve * (_MARGIN if before else 1.0):
            return f"its disk at {room.path} has only {_size(room.free)} left, and {_size(reserve)} are kept free"
    return ""


def _size(amount: int) -> str:
    return f"{amount / GB:.1f} GB" if amount >= GB else f"{amount / (1 << 20):.0f} MB"
