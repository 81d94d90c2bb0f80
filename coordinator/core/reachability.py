"""Who reaches whom, as seen by probes: directed links with their addresses, and the mutual neighbours they make."""

from __future__ import annotations

from coordinator.core.ids import HostId
from coordinator.core.model import Reach

_NOBODY: frozenset[HostId] = frozenset()


class ReachMap:
    """Outcomes of probes, newest per (source, target, address), and each host's mutual neighbours."""

    __slots__ = ("_links", "_neighbours")

    def __init__(self) -> None:
        self._links: dict[HostId, dict[HostId, dict[str, Reach]]] = {}
        self._neighbours: dict[HostId, set[HostId]] = {}

    def record(self, reach: Reach) -> bool:
        """Take a probe's outcome in; True when it changed who is whose neighbour."""
        self._links.setdefault(reach.source, {}).setdefault(reach.target, {})[reach.address] = reach
        return self._update_neighbours(reach.source, reach.target)

    def forget(self, host: HostId) -> None:
        """Drop every link from and to ``host``: it is gone, or its addresses changed."""
        self._links.pop(host, None)
        for targets in self._links.values():
            targets.pop(host, None)
        for other in self._neighbours.pop(host, set()):
            self._neighbours[other].discard(host)

    def addresses(self, source: HostId, target: HostId) -> frozenset[str]:
        """The addresses at which ``source`` got through to ``target``."""
        links = self._links.get(source, {}).get(target, {})
        return frozenset(address for address, reach in links.items() if reach.reached)

    def probed(self, source: HostId, target: HostId) -> bool:
        """Whether any probe from ``source`` to ``target`` has come back."""
        return bool(self._links.get(source, {}).get(target))

    def neighbours(self, host: HostId) -> frozenset[HostId] | set[HostId]:
        """Hosts that ``host`` reaches and that reach it."""
        return self._neighbours.get(host, _NOBODY)

    def failure(self, source: HostId, target: HostId) -> Reach | None:
        """A failed probe from ``source`` to ``target`` where none got through; None when one did or none was made."""
        links = self._links.get(source, {}).get(target, {})
        if not links or any(reach.reached for reach in links.values()):
            return None
        return next(iter(links.values()))

    def links(self) -> list[Reach]:
        """Every newest outcome."""
        return [reach for targets in self._links.values() for links in targets.values() for reach in links.values()]

    def _update_neighbours(self, a: HostId, b: HostId) -> bool:
        mutual = bool(self.addresses(a, b)) and bool(self.addresses(b, a))
        known = b in self._neighbours.get(a, _NOBODY)
        if mutual == known:
            return False
        for one, other in ((a, b), (b, a)):
            peers = self._neighbours.setdefault(one, set())
            if mutual:
                peers.add(other)
            else:
                peers.discard(other)
        return True
