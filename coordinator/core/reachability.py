"""Who reaches whom, as seen by probes: directed links with their addresses, how long they take, and the mutual
neighbours they make.

Relations between hosts are kept as rows of bits, one whole number a host: a bit stands for a host by its *slot*, a
small number that it has while it is known here. A question about hundreds of hosts is then a few operations on numbers,
and a million links take a few megabytes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

from coordinator.core.ids import HostId
from coordinator.core.model import Reach

# Two hosts are in class k when a probe between them takes no longer than this (seconds). What lies between two of these
# is alike: probes are not steadier than that.
LATENCY_CLASSES = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1)

# Times are kept in one byte, as steps of an eighth of an octave (9 %) above 10 µs; 0 is unknown.
_SHORTEST, _STEPS, _LONGEST_CODE = 1e-5, 8, 255


class _Door:
    """One address of a host: by whom it was reached, and who failed, with port and reason."""

    __slots__ = ("failed", "reached")

    def __init__(self) -> None:
        self.reached = 0
        self.failed: dict[HostId, tuple[int, str]] = {}


class ReachMap:
    """Outcomes of probes, newest per (source, target, address), and each host's mutual neighbours.

    *Close* neighbours reach each other at the best address of both: any set of hosts that are close to each other has
    an address each on which all reach all, without a look at single addresses.
    """

    __slots__ = (
        "_best",
        "_bits",
        "_codes",
        "_doors",
        "_free",
        "_hosts",
        "_reasons",
        "_slots",
        "close",
        "near",
        "out",
        "within",
    )

    def __init__(self) -> None:
        self._slots: dict[HostId, int] = {}
        self._hosts: list[HostId] = []
        self._bits: list[int] = []
        self._free: list[int] = []
        self._doors: dict[HostId, dict[str, _Door]] = {}
        self._best: dict[HostId, str] = {}
        self._codes: list[bytearray] = []
        # The same few for almost all failures.
        self._reasons: dict[tuple[int, str], tuple[int, str]] = {}
        # Rows by slot, of bits by slot: whom the host reaches, its mutual neighbours, those that are close, and by
        # class those not slower than it.
        self.out: list[int] = []
        self.near: list[int] = []
        self.close: list[int] = []
        self.within: tuple[list[int], ...] = tuple([] for _ in LATENCY_CLASSES)

    # ------------------------------------------------------------ what comes in

    def set_best(self, host: HostId, address: str | None) -> None:
        """The address that ``host`` would rather be reached at; None when it has none."""
        if self._best.get(host) == address:
            return
        if address is None:
            self._best.pop(host, None)
        else:
            self._best[host] = address
        slot = self._slots.get(host)
        if slot is None:
            return
        door = self._doors.get(host, {}).get(address or "")
        for other in self._decode(self.close[slot] | (door.reached if door is not None else 0)):
            self._relate(self.close, slot, self._slots[other], self._is_close(host, other))

    def record(self, reach: Reach) -> bool:
        """Take a probe's outcome in; True when it changed who is whose neighbour."""
        source, target = reach.source, reach.target
        a, b = self._slot(source), self._slot(target)
        door = self._doors.setdefault(target, {}).setdefault(reach.address, _Door())
        was = bool(door.reached & self._bits[a])
        if reach.reached:
            if reach.seconds > 0:
                self._time(a, b, reach.seconds)
            if was:
                # Thousands of probes are repeated every two minutes, and hardly any says something new.
                return False
            door.failed.pop(source, None)
            door.reached |= self._bits[a]
        else:
            why = (reach.port, reach.reason)
            door.failed[source] = self._reasons.setdefault(why, why)
            if not was:
                return False
            door.reached &= ~self._bits[a]
        self._relate(self.close, a, b, self._is_close(source, target))
        if self.reaches(source, target):
            self.out[a] |= self._bits[b]
        else:
            self.out[a] &= ~self._bits[b]
        return self._relate(self.near, a, b, bool(self.out[a] & self._bits[b]) and bool(self.out[b] & self._bits[a]))

    def forget(self, host: HostId) -> None:
        """Drop every link from and to ``host``: it is gone, or its addresses changed."""
        self._doors.pop(host, None)
        slot = self._slots.pop(host, None)
        if slot is None:
            return
        bit = self._bits[slot]
        for doors in self._doors.values():
            for door in doors.values():
                door.reached &= ~bit
                door.failed.pop(host, None)
        for rows in (self.near, self.close, *self.within):
            for other in self._decode(rows[slot]):
                rows[self._slots[other]] &= ~bit
            rows[slot] = 0
        self.out[slot] = 0
        for place in self._slots.values():
            self.out[place] &= ~bit
        self._codes[slot] = bytearray()
        for codes in self._codes:
            if len(codes) > slot:
                codes[slot] = 0
        self._free.append(slot)

    # ------------------------------------------------------------ single links

    def addresses(self, source: HostId, target: HostId) -> frozenset[str]:
        """The addresses at which ``source`` got through to ``target``."""
        bit = self.bit(source)
        return frozenset(address for address, door in self._doors.get(target, {}).items() if door.reached & bit)

    def reaches(self, source: HostId, target: HostId) -> bool:
        """Whether ``source`` got through to ``target`` at any address."""
        bit = self.bit(source)
        return any(door.reached & bit for door in self._doors.get(target, {}).values())

    def probed(self, source: HostId, target: HostId) -> bool:
        """Whether any probe from ``source`` to ``target`` has come back."""
        bit = self.bit(source)
        return any(door.reached & bit or source in door.failed for door in self._doors.get(target, {}).values())

    def failure(self, source: HostId, target: HostId) -> Reach | None:
        """A failed probe from ``source`` to ``target`` where none got through; None when one did or none was made."""
        if self.reaches(source, target):
            return None
        for address, door in self._doors.get(target, {}).items():
            if source in door.failed:
                port, reason = door.failed[source]
                return Reach(source, target, address, port, False, reason)
        return None

    def seconds(self, one: HostId, other: HostId) -> float | None:
        """How long a probe between the two takes, in either direction, to a tenth of it; None: not measured."""
        a, b = self._slots.get(one), self._slots.get(other)
        code = 0 if a is None or b is None else self._code(a, b)
        return _seconds(code) if code else None

    # ------------------------------------------------------------ many hosts at once

    def neighbours(self, host: HostId) -> frozenset[HostId]:
        """Hosts that ``host`` reaches and that reach it."""
        slot = self._slots.get(host)
        return frozenset() if slot is None else frozenset(self._decode(self.near[slot]))

    def slot(self, host: HostId) -> int | None:
        """The host's place in rows of bits; None: no probe from or to it has come back."""
        return self._slots.get(host)

    def bit(self, host: HostId) -> int:
        """The host's bit in rows; 0 for one that has none."""
        slot = self._slots.get(host)
        return 0 if slot is None else self._bits[slot]

    def mask(self, hosts: Iterable[HostId]) -> int:
        """The bits of all these hosts, without those that have none."""
        slots = self._slots
        row = bytearray((len(self._hosts) >> 3) + 1)
        for host in hosts:
            slot = slots.get(host)
            if slot is not None:
                row[slot >> 3] |= 1 << (slot & 7)
        return int.from_bytes(row, "little")

    def hosts(self, mask: int) -> tuple[HostId, ...]:
        """The hosts of these bits."""
        return tuple(self._decode(mask))

    def at(self, slot: int) -> HostId:
        """The host at a slot."""
        return self._hosts[slot]

    def reached_by_all(self, target: HostId, sources: int) -> tuple[str, ...]:
        """The addresses of ``target`` at which all of ``sources`` (bits; its own does not count) got through to it."""
        others = sources & ~self.bit(target)
        return tuple(a for a, door in self._doors.get(target, {}).items() if not others & ~door.reached)

    def reaches_all(self, source: HostId, targets: int) -> bool:
        """Whether ``source`` got through to each of ``targets`` (bits; its own does not count)."""
        slot = self._slots.get(source)
        return not (targets if slot is None else targets & ~self.out[slot] & ~self._bits[slot])

    def doors(self, target: HostId) -> list[int]:
        """For each address of ``target`` the bits of those that got through to it there."""
        return [door.reached for door in self._doors.get(target, {}).values()]

    def slowest(self, hosts: Iterable[HostId]) -> float | None:
        """The longest time of a probe between two of these hosts (seconds); None when one was not measured."""
        slots = [self._slots.get(host) for host in hosts]
        known = [slot for slot in slots if slot is not None]
        codes = [self._code(a, b) for i, a in enumerate(known) for b in known[i + 1 :]]
        if len(known) < len(slots) or not codes or not all(codes):
            return None
        return _seconds(max(codes))

    # ------------------------------------------------------------ inside

    def _slot(self, host: HostId) -> int:
        slot = self._slots.get(host)
        if slot is None:
            slot = self._free.pop() if self._free else self._add_slot()
            self._slots[host] = slot
            self._hosts[slot] = host
        return slot

    def _add_slot(self) -> int:
        slot = len(self._hosts)
        self._hosts.append(HostId(""))
        self._bits.append(1 << slot)
        self._codes.append(bytearray())
        for rows in (self.out, self.near, self.close, *self.within):
            rows.append(0)
        return slot

    def _decode(self, mask: int) -> Iterator[HostId]:
        for at, byte in enumerate(mask.to_bytes((mask.bit_length() + 7) >> 3, "little")):
            if byte:
                for place in range(8):
                    if byte >> place & 1:
                        yield self._hosts[(at << 3) + place]

    def _is_close(self, a: HostId, b: HostId) -> bool:
        return self._reaches_best(a, b) and self._reaches_best(b, a)

    def _reaches_best(self, source: HostId, target: HostId) -> bool:
        door = self._doors.get(target, {}).get(self._best.get(target, ""))
        return door is not None and bool(door.reached & self.bit(source))

    def _relate(self, rows: list[int], a: int, b: int, holds: bool) -> bool:
        """Make the mutual relation hold between two slots, or not; whether that changed anything."""
        if bool(rows[a] & self._bits[b]) is holds:
            return False
        rows[a] ^= self._bits[b]
        rows[b] ^= self._bits[a]
        return True

    def _time(self, a: int, b: int, seconds: float) -> None:
        code = min(_LONGEST_CODE, 1 + max(0, round(_STEPS * math.log2(seconds / _SHORTEST))))
        codes = self._codes[a]
        if len(codes) <= b:
            codes.extend(bytes(b + 1 - len(codes)))
        if codes[b] == code:
            return
        before = self._code(a, b)
        codes[b] = code
        after = self._code(a, b)
        if _CLASS[before] != _CLASS[after]:
            for number, rows in enumerate(self.within):
                self._relate(rows, a, b, _CLASS[after] <= number)

    def _code(self, a: int, b: int) -> int:
        """The shorter of both directions: what lengthened the other was not the way between them."""
        there = self._codes[a][b] if len(self._codes[a]) > b else 0
        back = self._codes[b][a] if len(self._codes[b]) > a else 0
        return min(there, back) or there or back


def _seconds(code: int) -> float:
    return _SHORTEST * math.exp2((code - 1) / _STEPS)


def _class_of(code: int) -> int:
    if code == 0:
        return len(LATENCY_CLASSES)
    # Half a step more: a time that was rounded up is still what it was.
    bounds = (bound * math.exp2(0.5 / _STEPS) for bound in LATENCY_CLASSES)
    return next((number for number, bound in enumerate(bounds) if _seconds(code) <= bound), len(LATENCY_CLASSES))


# By code.
_CLASS = tuple(_class_of(code) for code in range(_LONGEST_CODE + 1))
