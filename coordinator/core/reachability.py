"""Who reaches whom, as seen by probes: directed links with their addresses, and the mutual neighbours they make."""

from __future__ import annotations

from coordinator.core.ids import HostId
from coordinator.core.model import Reach

_NOBODY: frozenset[HostId] = frozenset()


class ReachMap:
    """Outcomes of probes, newest per (source, target, address), and each host's mutual neighbours.

    *Close* neighbours reach each other at the best address of both: any set of hosts that are close to each other has
    an address each on which all reach all, without a look at single addresses.
    """

    __slots__ = ("_best", "_close", "_links", "_neighbours")

    def __init__(self) -> None:
        self._links: dict[HostId, dict[HostId, dict[str, Reach]]] = {}
        self._neighbours: dict[HostId, set[HostId]] = {}
        self._best: dict[HostId, str] = {}
        self._close: dict[HostId, set[HostId]] = {}

    def set_best(self, host: HostId, address: str | None) -> None:
        """The address that ``host`` would rather be reached at; None when it has none."""
        if self._best.get(host) == address:
            return
        if address is None:
            self._best.pop(host, None)
        else:
            self._best[host] = address
        for other in {*self._links.get(host, ()), *self._close.get(host, ())}:
            self._update(self._close, host, other, self._is_close(host, other))

    def record(self, reach: Reach) -> bool:
        """Take a probe's outcome in; True when it changed who is whose neighbour."""
        source, target = reach.source, reach.target
        links = self._links.setdefault(source, {}).setdefault(target, {})
        known = links.get(reach.address)
        links[reach.address] = reach
        if known is not None and known.reached is reach.reached:
            # Thousands of probes are repeated every two minutes, and hardly any says something new.
            return False
        self._update(self._close, source, target, self._is_close(source, target))
        mutual = self.reaches(source, target) and self.reaches(target, source)
        return self._update(self._neighbours, source, target, mutual)

    def forget(self, host: HostId) -> None:
        """Drop every link from and to ``host``: it is gone, or its addresses changed."""
        self._links.pop(host, None)
        for targets in self._links.values():
            targets.pop(host, None)
        for relation in (self._neighbours, self._close):
            for other in relation.pop(host, set()):
                relation[other].discard(host)

    def addresses(self, source: HostId, target: HostId) -> frozenset[str]:
        """The addresses at which ``source`` got through to ``target``."""
        links = self._links.get(source, {}).get(target, {})
        return frozenset(address for address, reach in links.items() if reach.reached)

    def reaches(self, source: HostId, target: HostId) -> bool:
        """Whether ``source`` got through to ``target`` at any address."""
        return any(reach.reached for reach in self._links.get(source, {}).get(target, {}).values())

    def probed(self, source: HostId, target: HostId) -> bool:
        """Whether any probe from ``source`` to ``target`` has come back."""
        return bool(self._links.get(source, {}).get(target))

    def neighbours(self, host: HostId) -> frozenset[HostId] | set[HostId]:
        """Hosts that ``host`` reaches and that reach it."""
        return self._neighbours.get(host, _NOBODY)

    def close(self, host: HostId) -> frozenset[HostId] | set[HostId]:
        """The neighbours that ``host`` and they reach at the best address of each."""
        return self._close.get(host, _NOBODY)

    def failure(self, source: HostId, target: HostId) -> Reach | None:
        """A failed probe from ``source`` to ``target`` where none got through; None when one did or none was made."""
        links = self._links.get(source, {}).get(target, {})
        if not links or any(reach.reached for reach in links.values()):
            return None
        return next(iter(links.values()))

    def links(self) -> list[Reach]:
        """Every newest outcome."""
        return [reach for targets in self._links.values() for links in targets.values() for reach in links.values()]

    def _is_close(self, a: HostId, b: HostId) -> bool:
        return self._reaches_best(a, b) and self._reaches_best(b, a)

    def _reaches_best(self, source: HostId, target: HostId) -> bool:
        reach = self._links.get(source, {}).get(target, {}).get(self._best.get(target, ""))
        return reach is not None and reach.reached

    @staticmethod
    def _update(relation: dict[HostId, set[HostId]], a: HostId, b: HostId, holds: bool) -> bool:
        """Make the mutual relation hold between ``a`` and ``b``, or not; whether that changed anything."""
        if (b in relation.get(a, _NOBODY)) == holds:
            return False
        for one, other in ((a, b), (b, a)):
            peers = relation.setdefault(one, set())
            if holds:
                peers.add(other)
            else:
                peers.discard(other)
        return True
