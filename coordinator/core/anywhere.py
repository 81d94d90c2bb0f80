"""Placing nodes that go anywhere, each as soon as a host has room; and further copies of them."""

from __future__ import annotations

from bisect import insort
from dataclasses import dataclass, field, replace

from coordinator.core import copies, fit, max_running, score
from coordinator.core.attempts import reserve
from coordinator.core.changes import DeadlineSet, JobUpdated
from coordinator.core.ids import HostId
from coordinator.core.model import Host, Job, JobState, Node, Phase
from coordinator.core.offers import Offer, Offers
from coordinator.core.queue import Line
from coordinator.core.reservations import Walk
from coordinator.core.rounds import Outcome, Work
from coordinator.core.state import State
from coordinator.core.steering import Steering, steer_deadline
from coordinator.core.turn import Turn


@dataclass(slots=True)
class Anywhere:
    """One pass over the queue, as far as it is about nodes that go anywhere."""

    turn: Turn
    walk: Walk
    work: Work
    # Offers of hosts that are kept for others, for the rest of the pass.
    _aside: list[tuple[Offers, HostId]] = field(default_factory=list)

    def place(self, job: Job, line: Line, alone: bool) -> Outcome:
        """Place of the job what may be placed before it is another user's turn (``alone``: nobody else waits)."""
        state = self.turn.state
        if line.offers is None:
            line.offers = state.planning.offers(line.key.asks)
        offers, looks = line.offers, line.offers.looks
        offers.refresh(state)
        if line.key.alone is not None:
            outcome = self._place_copied(job, offers)
        else:
            outcome = self._place_nodes(job, offers, job.spec.nodes if alone else 1)
        self.work.looked(offers.looks - looks)
        return outcome

    def close(self) -> None:
        """The pass is over."""
        for offers, host in self._aside:
            offers.put_back(self.turn.state, host)

    def _place_nodes(self, job: Job, offers: Offers, most: int) -> Outcome:
        """Place up to so many nodes of the job, each on the best host there is for it then."""
        state, ready = self.turn.state, self.turn.state.ready[job.id]
        state.planning.steered.pop(job.id, None)
        steering = Steering(state, job, offers.asks, self.turn.at.served)
        slow: list[Offer] = []
        placed, most, outcome = 0, min(most, max_running.room(job, state.counts[job.id])), Outcome.PASSED
        while placed < most and self.work.left > 0 and (rank := ready.first()) is not None:
            node = state.nodes[job.id].get(rank)
            offer = self._best(job, node, offers)
            if offer is None:
                outcome = outcome if slow else Outcome.BLOCKED
                break
            if steering.refuses(offer):
                slow.append(offer)
                continue
            self._place_node(job, rank, node, offer)
            offers.placed(offer.host)
            offers.put_back(state, offer.host.id)
            placed, outcome = placed + 1, Outcome.PLACED
        for offer in slow:
            offers.put_back(state, offer.host.id)
        if slow and ready:
            state.planning.steered[job.id] = steering.words(slow[0])
            # The faster ones may take longer than was thought.
            self.turn.record(DeadlineSet(steer_deadline(job), self.turn.at.mono + slow[0].terms.hours * 3600.0))
        self._begin(job)
        return outcome

    def _begin(self, job: Job) -> None:
        state = self.turn.state
        if state.job_allocations[job.id] and state.jobs[job.id].state is JobState.QUEUED:
            self.turn.record(JobUpdated(replace(state.jobs[job.id], state=JobState.STARTING, reason="")))

    def _place_node(self, job: Job, rank: int, node: Node | None, offer: Offer) -> None:
        """Hold what the node needs on the host of the offer, for its next attempt."""
        state, host = self.turn.state, offer.host
        assert host.hardware is not None
        held = fit.pick(host.hardware, state.usage[host.id], offer.option.need, offer.match)
        assert held is not None  # there is no offer without room
        attempt = state.next_attempt(node.last_attempt if node else 0)
        reserve(self.turn, job, rank, host, held, Phase.RUNNING, attempt, offer.option.name)
        self.work.left -= 1

    def _best(self, job: Job, node: Node | None, offers: Offers) -> Offer | None:
        """Take the best offer out; for a node that failed, the best one outside the domain where it did, if any."""
        state = self.turn.state
        chosen = self._take(job, offers)
        last = None if node is None else node.failed_host_id or node.host_id
        failed = None if last is None else state.hosts.get(last)
        if failed is None:
            return chosen
        passed: list[Offer] = []
        while chosen is not None and score.same_domain(job.spec.spread, failed, chosen.host):
            passed.append(chosen)
            chosen = self._take(job, offers)
        if chosen is None and passed:
            chosen = passed.pop(0)
        for offer in passed:
            offers.put_back(state, offer.host.id)
        return chosen

    def _take(self, job: Job, offers: Offers) -> Offer | None:
        """Take the best offer out that is not kept for others."""
        while (offer := offers.take(self.turn.state)) is not None:
            if self._may_use(job, offer):
                return offer
            self._aside.append((offers, offer.host.id))
        return None

    def _may_use(self, job: Job, offer: Offer) -> bool:
        return not self.walk.kept or self.walk.allowed(job, offer.option.need, offer.host, 1) > 0

    # ------------------------------------------------------------ copies

    def _place_copied(self, job: Job, offers: Offers) -> Outcome:
        """Place nodes of a job with redundancy, and then further copies of them."""
        outcome = self._place_nodes(job, offers, job.spec.nodes)
        if self.work.left > 0 and self.turn.state.short.get(job.id):
            self._place_copies(job, offers)
            self._begin(job)
        # What could not be placed has no chance before something changes.
        return Outcome.BLOCKED if self.work.left > 0 else outcome

    def _place_copies(self, job: Job, offers: Offers) -> None:
        """Place further copies of nodes that have one, in backends where they have none; second ones before third."""
        state = self.turn.state
        short, resting = state.short[job.id], state.resting.get(job.id, {})
        backends: dict[str, list[Offer]] = {}
        for offer in offers.standing(state):
            if self._may_use(job, offer):
                backends.setdefault(offer.host.facts.backend, []).append(offer)
        for have in range(1, job.spec.redundancy):
            for rank in [r for r in short if r not in resting and len(copies.held(state, job.id, r)) == have]:
                taken = copies.backends(state, job.id, rank)
                free = [found for backend, found in backends.items() if found and backend not in taken]
                if free and self.work.left > 0:
                    self._place_copy(job, rank, offers, free)

    def _place_copy(self, job: Job, rank: int, offers: Offers, free: list[list[Offer]]) -> None:
        node = self.turn.state.nodes[job.id][rank]
        found, place = _best_backend(self.turn.state, job, node, free)
        offer = found.pop(place)
        self._place_node(job, rank, node, offer)
        offers.placed(offer.host)
        left = offers.put_back(self.turn.state, offer.host.id)
        if left is not None and self._may_use(job, left):
            insort(found, left, key=lambda each: each.key)


def _best_backend(state: State, job: Job, node: Node, free: list[list[Offer]]) -> tuple[list[Offer], int]:
    """Of the offers of several backends the best, by its list and its place there; outside the domain where the node
    last failed, if there is one."""
    failed = state.hosts.get(node.failed_host_id) if node.failed_host_id is not None else None

    last = failed or (state.hosts.get(node.host_id) if node.host_id is not None else None)

    def near(host: Host | None, offer: Offer) -> bool:
        return host is not None and score.same_domain(job.spec.spread, host, offer.host)

    found = []
    for backend, offers in enumerate(free):
        place = next((place for place, offer in enumerate(offers) if not near(last, offer)), 0)
        found.append((near(failed, offers[place]), offers[place].key, backend, place))
    _, _, backend, place = min(found)
    return free[backend], place
