"""The last nodes of a job: a slow host does not get one when the faster hosts, where others of the job run, would be
done with all that is left sooner than the slow one with one node.

Known are durations of the job's own ended nodes, and speeds from them and from `speed` of variants; before a node has
ended nothing is steered, and all kinds of hardware begin at once.
"""

from __future__ import annotations

from math import ceil

from coordinator.core.asks import Asks
from coordinator.core.model import Allocation, Job
from coordinator.core.offers import Offer
from coordinator.core.state import State


def steer_deadline(job: Job) -> str:
    """The key of the deadline at which the last nodes of a job are looked at again."""
    return f"steer:{job.id}"


class Steering:
    """What is looked at while nodes of one job are placed, at ``now`` (served seconds)."""

    def __init__(self, state: State, job: Job, asks: Asks, now: float) -> None:
        self._state, self._job, self._asks, self._now = state, job, asks, now
        self._capacity: dict[float, int] = {}

    def refuses(self, offer: Offer) -> bool:
        """Whether the node had better wait for one of the job's faster hosts than be placed there."""
        if not self._asks.steers or not self._state.job_allocations[self._job.id]:
            return False
        hours = offer.terms.hours
        if hours not in self._capacity:
            self._capacity[hours] = self._faster(hours)
        return len(self._state.ready[self._job.id]) <= self._capacity[hours]

    def words(self, offer: Offer) -> str:
        """Why the node waits."""
        left = len(self._state.ready[self._job.id])
        nodes = "1 node waits" if left == 1 else f"{left} nodes wait"
        took = f"{offer.terms.hours * 3600:.3g} s"
        return f"{nodes} for the job's faster hosts, which are done with all before {offer.host.name} with one ({took})"

    def _faster(self, hours: float) -> int:
        """How many more nodes the faster hosts of the job are done with in so many hours."""
        held = (self._state.allocations[a] for a in self._state.job_allocations[self._job.id])
        return sum(self._more(allocation, hours) for allocation in held)

    def _more(self, allocation: Allocation, hours: float) -> int:
        each = self._hours(allocation)
        if each is None or each >= hours:
            return 0
        ran = (self._now - allocation.held_since) / 3600.0
        # What takes longer than expected is expected to take as long again.
        left = each - ran if ran < each else ran
        # Sooner, not at the same moment.
        return max(0, ceil((hours - left) / each - 1e-9) - 1)

    def _hours(self, allocation: Allocation) -> float | None:
        option = next((option for option in self._asks.options if option.name == allocation.variant), None)
        host = self._state.hosts.get(allocation.host_id)
        if option is None or host is None or host.hardware is None:
            return None
        model = next((gpu.name for gpu in host.hardware.gpus if gpu.uuid in allocation.gpus), "")
        return self._asks.hours(option, model)
