"""Bugs to plant: each is put in place of a part of production by the history's constructor, and must be found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from agent.core.model import AllocationId, DesiredUpdate, Phase
from agent.core.outflow import Position
from agent.work import Work
from coordinator.core import rendezvous
from coordinator.core.changes import HostUpdated
from coordinator.core.decide import decide
from coordinator.core.ends import on_end
from coordinator.core.events import AllocationStatus, Event, HostReported, SessionOpened, StopRequested, Ticked
from coordinator.core.ids import HostId
from coordinator.core.model import EndCause, GangPhase
from coordinator.core.model import Phase as CorePhase
from coordinator.core.state import State
from coordinator.core.turn import Turn
from coordinator.logfiles import Chunk
from tests.sim.agent import Agent
from tests.sim.coordinator import Coordinator, Reply
from tests.sim.output import Publisher
from tests.sim.world import Parts

if TYPE_CHECKING:
    from agent.spawner.wire import Message


def skip_the_fence(turn: Turn, event: Event) -> Any:
    """What is said of an older attempt is taken for the node's latest one on that host."""
    if isinstance(event, HostReported):
        statuses = tuple(replace(status, id=_latest(turn.state, event.host_id, status)) for status in event.statuses)
        event = replace(event, statuses=statuses)
    return decide(turn, event)


def _latest(state: State, host: HostId, status: AllocationStatus) -> Any:
    job, rank, _ = status.id.split(".")
    found = (a.id for a in state.allocations.values() if (a.job_id, str(a.rank), a.host_id) == (job, rank, host))
    return next(found, status.id)


def free_early(turn: Turn, event: Event) -> Any:
    """What is told to stop is free at once."""
    answer = decide(turn, event)
    if isinstance(event, StopRequested):
        for key in sorted(turn.state.job_allocations.get(answer.id, ())):
            end = AllocationStatus(key, CorePhase.ENDED, cause=EndCause.STOPPED)
            on_end(turn, turn.state.allocations[key], end)
    return answer


class AcknowledgesFirst(Coordinator):
    """Answers its callers before the commit."""

    def decided(self, turn: Turn, posted: list[tuple[Any, Reply]], answers: list[tuple[Reply, Any]]) -> None:
        """See Coordinator."""
        for reply, answer in answers:
            reply(answer)
        super().decided(turn, posted, [])


class ForgetsEnds(Work):
    """Forgets a process when it ends, whoever knows of it."""

    def hear(self, news: list[Message]) -> None:
        """See Work."""
        super().hear(news)
        for key, seen in list(self.observed.items()):
            if seen.phase is Phase.ENDED and not seen.acknowledged and any(m.get("id") == key for m in news):
                self._forget(AllocationId(key))


def start_in_part(turn: Turn, event: Event) -> Any:
    """The group is formed when its first member is prepared."""
    answer = decide(turn, event)
    for gang in tuple(turn.state.gangs.values()):
        members = rendezvous.members_of(turn.state, gang)
        if gang.phase is GangPhase.PREPARING and any(m.observed is CorePhase.PREPARED for m in members):
            addresses = {m.host_id: turn.state.hosts[m.host_id].peer.addresses[0] for m in members}
            rendezvous._start(turn, gang, rendezvous._group(gang, members, addresses))
    return answer


def retry_twice(turn: Turn, event: Event) -> Any:
    """A suspect host counts as lost: its nodes are placed again while they may still run."""
    if not isinstance(event, Ticked):
        return decide(turn, event)
    timing = turn.state.timing
    turn.state.timing = replace(timing, lease=timing.suspect, lease_grace=0.0, lease_margin=0.0)
    try:
        return decide(turn, event)
    finally:
        turn.state.timing = timing


def ignore_drift(turn: Turn, event: Event) -> Any:
    """A host's lease and grace are taken to end when the coordinator's clock says so."""
    timing = turn.state.timing
    turn.state.timing = replace(timing, lease_margin=0.0)
    try:
        return decide(turn, event)
    finally:
        turn.state.timing = timing


class CountsFromTheAnswer(Work):
    """Takes a lease to begin when it arrives."""

    def begin(self, sent_at: float, seconds: float, grace: float) -> None:
        """See Work."""
        super().begin(self._tools.now(), seconds, grace)

    def renew(self, sent_at: float, seconds: float, grace: float) -> bool:
        """See Work."""
        return super().renew(self._tools.now(), seconds, grace)


def place_on_closed(turn: Turn, event: Event) -> Any:
    """A host that was taken out of use is taken into use again by its next session."""
    answer = decide(turn, event)
    if isinstance(event, SessionOpened) and answer.cordoned:
        turn.record(HostUpdated(replace(answer, cordoned=False)))
    return answer


class AcknowledgesOutputFirst(Coordinator):
    """Says that output is stored before it is."""

    def _append(self, chunks: Sequence[Chunk], known: set[str], reply: Reply) -> None:
        reply([Position(AllocationId(c.allocation_id), c.offset + len(c.data)) for c in chunks])
        self.world.clock.after(self.world.commit_seconds(), self.process, super()._append, chunks, known, lambda _: 0)


class SendsOnce(Publisher):
    """Takes output that was sent for output that arrived."""

    def _send(self, chunks: list[Chunk]) -> None:
        super()._send(chunks)
        arrived = [Position(AllocationId(c.allocation_id), c.offset + len(c.data)) for c in chunks]
        self._flow.answered(arrived, self._host.now())


class SendingOnce(Agent):
    """An agent with such a publisher."""

    publishing = SendsOnce


class BeginsAtOnce(Work):
    """Begins what is to begin behind another one beside that one."""

    def want(self, update: DesiredUpdate) -> None:
        """See Work."""
        super().want(replace(update, allocations=tuple(replace(a, behind=None) for a in update.allocations)))


PLANTS: dict[str, Parts] = {
    "a skipped fence": Parts(decide=skip_the_fence),
    "a GPU freed early": Parts(decide=free_early),
    "an acknowledgement before the commit": Parts(coordinator=AcknowledgesFirst),
    "a forgotten end": Parts(work=ForgetsEnds),
    "a gang started in part": Parts(decide=start_in_part),
    "a node tried twice at once": Parts(decide=retry_twice),
    "clocks taken to be alike": Parts(decide=ignore_drift),
    "a lease counted from its answer": Parts(work=CountsFromTheAnswer),
    "a forgotten cordon": Parts(decide=place_on_closed),
    "output acknowledged before it is stored": Parts(coordinator=AcknowledgesOutputFirst),
    "output sent once": Parts(agent=SendingOnce),
    "a queue not waited in": Parts(work=BeginsAtOnce),
}
