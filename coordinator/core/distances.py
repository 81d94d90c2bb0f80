"""How far hosts are: from the coordinator, and from what jobs want to be near to, as the hosts have measured it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from coordinator.core.ids import HostId
from coordinator.core.model import Distance

# So many targets' distances are kept; the one asked for longest ago goes first.
MAX_TARGETS = 256
# What is said of hosts that were asked and have not answered in time.
LATE = "no answer in time"


class DistanceMap:
    """The newest measurement per target and host, and the hosts whose answers are awaited. All of it in memory only."""

    __slots__ = ("_awaited", "_known", "_most", "_round_trips")

    def __init__(self, most: int = MAX_TARGETS) -> None:
        self._most = most
        self._known: dict[str, dict[HostId, Distance]] = {}
        self._awaited: dict[str, set[HostId]] = {}
        self._round_trips: dict[HostId, float] = {}

    def ask(self, target: str, hosts: Iterable[HostId]) -> None:
        """These hosts were told to measure."""
        self._known[target] = self._known.pop(target, {})
        self._awaited.setdefault(target, set()).update(hosts)
        while len(self._known) > self._most:
            self.forget(next(iter(self._known)))

    def record(self, distance: Distance) -> None:
        """Take a host's answer in; one that nobody asks for (any more) is dropped."""
        known = self._known.get(distance.target)
        if known is not None:
            known[distance.host_id] = distance
            self._awaited.get(distance.target, set()).discard(distance.host_id)

    def give_up(self, target: str) -> None:
        """Answers that have not come are awaited no longer, which is known of those hosts until they do come."""
        known = self._known.get(target, {})
        for host in self._awaited.pop(target, ()):
            known.setdefault(host, Distance(host, target, None, LATE))

    def forget(self, target: str) -> None:
        """Drop all that is known of a target."""
        self._known.pop(target, None)
        self._awaited.pop(target, None)

    def forget_host(self, host: HostId) -> None:
        """The host was removed."""
        self._round_trips.pop(host, None)
        for hosts in self._known.values():
            hosts.pop(host, None)
        for awaited in self._awaited.values():
            awaited.discard(host)

    def of(self, target: str) -> Mapping[HostId, Distance]:
        """What is known of a target."""
        return self._known.get(target, {})

    def is_known(self, target: str) -> bool:
        """Whether anybody was asked for it of late."""
        return target in self._known

    def awaited(self, target: str) -> frozenset[HostId]:
        """The hosts that were asked and have not answered."""
        return frozenset(self._awaited.get(target, ()))

    def set_round_trip(self, host: HostId, seconds: float) -> None:
        """What the host's calls to the coordinator take."""
        self._round_trips[host] = seconds

    def round_trip(self, host: HostId) -> float | None:
        """Seconds for a call of the host to the coordinator and back; None: not measured yet."""
        return self._round_trips.get(host)
