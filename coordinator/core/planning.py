"""What the planner keeps from turn to turn, so that a turn costs what changed: volatile, and derived from the state."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence

from coordinator.core import fit
from coordinator.core.asks import Asks
from coordinator.core.hardware import Hardware
from coordinator.core.ids import HostId, JobId
from coordinator.core.offers import Offers

# Of asks that nothing waits with any more so many stay known: the next job often asks the same.
KEPT_OFFERS = 16
# The log is cut when it is longer; who had not read so far looks at all hosts again.
LOG_LENGTH = 1000


class Log:
    """Names of hosts as something happens to them, to be read by many, each from where it was."""

    __slots__ = ("_from", "_hosts")

    def __init__(self) -> None:
        self._hosts: list[HostId] = []
        self._from = 0

    @property
    def end(self) -> int:
        """How much was ever written."""
        return self._from + len(self._hosts)

    def add(self, hosts: Iterable[HostId]) -> None:
        """Something happened to these."""
        self._hosts.extend(hosts)

    def since(self, seen: int) -> Sequence[HostId] | None:
        """What was written after the first ``seen``; None when that is not known any more."""
        return self._hosts[seen - self._from :] if seen >= self._from else None

    def cut(self, hosts: int) -> None:
        """Forget the older half of a log that is long, measured by the number of hosts."""
        if len(self._hosts) > LOG_LENGTH + 4 * hosts:
            half = len(self._hosts) // 2
            del self._hosts[:half]
            self._from += half


class Planning:
    """Offers by what is asked, shapes of hardware, and whether a turn had to end early.

    ``freed`` tells of hosts that changed for the better, ``taken`` of those on which something was held.
    """

    __slots__ = ("_offers", "_shapes", "_shapes_of", "freed", "steered", "taken", "unfinished")

    def __init__(self) -> None:
        self.unfinished = False
        # Jobs whose last nodes wait for faster hosts, and the words for it.
        self.steered: dict[JobId, str] = {}
        self.freed = Log()
        self.taken = Log()
        self._offers: OrderedDict[Asks, Offers] = OrderedDict()
        self._shapes: dict[tuple[object, ...], int] = {}
        self._shapes_of: dict[HostId, tuple[Hardware, int]] = {}

    # ------------------------------------------------------------ what is known of asks and hosts

    def offers(self, asks: Asks) -> Offers:
        """The offers to a class of jobs."""
        found = self._offers.get(asks)
        if found is None:
            found = self._offers[asks] = Offers(asks)
        else:
            self._offers.move_to_end(asks)
        return found

    def forget(self, waiting: int) -> None:
        """Keep the offers of as many classes as there are ``waiting``, and some more: those used last."""
        while len(self._offers) > waiting + KEPT_OFFERS:
            self._offers.popitem(last=False)

    def shape_of(self, host: HostId, hardware: Hardware) -> int:
        """A number that hosts of one shape share: see ``fit.shape``."""
        known = self._shapes_of.get(host)
        if known is not None and known[0] is hardware:
            return known[1]
        number = self._shapes.setdefault(fit.shape(hardware), len(self._shapes))
        self._shapes_of[host] = (hardware, number)
        return number

    def forget_host(self, host: HostId) -> None:
        """The host was removed."""
        self._shapes_of.pop(host, None)
