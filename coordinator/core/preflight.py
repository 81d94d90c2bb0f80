"""``preflight``: what a prepared group measures before it is told to start, step by step.

The members' orders are part of what is wanted of them, as everything is: who comes back into contact is told again
what to measure now, and who has measured says so until that is acknowledged. A step ends when all who were to answer
have, or at its deadline; then comes the next. So no host is in two measurements at once, and all of it takes a bounded
time. Nothing of it is stored: a coordinator that was restarted has the group measure again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from coordinator.core.changes import DeadlineSet, MeasuringUpdated
from coordinator.core.effects import DesiredChanged
from coordinator.core.ids import HostId
from coordinator.core.measured import Answer, Device, Link
from coordinator.core.measuring import Measuring, Unmeasured
from coordinator.core.model import Allocation, Gang, GangPhase, Group, GroupMember, Job
from coordinator.core.pairings import rounds_of
from coordinator.core.spec import PreflightKind
from coordinator.core.state import State
from coordinator.core.turn import Turn

# Seconds that a pair has beside those in which it sends: to find each other, and to be told and heard.
PAIR_SLACK = 15.0
# The same for a step of all members: each starts Python and torch, which on a cold disk takes long.
COLLECTIVES_SECONDS = 180.0
IN_IMAGE = "torch in the job's image is not looked for"


@dataclass(frozen=True, slots=True)
class Order:
    """What one member is to measure now: with ``peer``, which it calls or waits for, or else with all of ``group``."""

    number: int
    kind: PreflightKind
    seconds: float
    address: str
    peer: GroupMember | None = None
    calls: bool = False
    group: Group | None = None


def preflight_deadline(job: Job) -> str:
    """The key of the deadline of the step that is under way."""
    return f"preflight:{job.id}"


def begin(turn: Turn, job: Job, group: Group) -> bool:
    """Have the members of a group that could start now measure first. False: there is nothing to measure."""
    policy = job.spec.preflight
    assert policy is not None
    collective, in_image = policy.kind is PreflightKind.COLLECTIVES, job.spec.image is not None
    began = Measuring(
        job.id,
        policy,
        group,
        rounds_of(len(group.members)),
        together=collective and not in_image,
        unmeasured=(Unmeasured(job.name, IN_IMAGE, unable=True),) if collective and in_image else (),
    )
    return _next(turn, job, began)


def take(turn: Turn, allocation: Allocation, answer: Answer) -> bool:
    """A member's answer; those of other steps, and repeats, are passed over. True: nothing is left to measure."""
    running = turn.state.measuring.get(allocation.job_id)
    if running is None or running.number != answer.number or allocation.rank not in running.awaited:
        return False
    noted = _with_pair(turn.state, running, allocation.rank, answer)
    if noted is None:
        noted = _with_devices(turn.state, running, allocation.rank, answer)
    return _go_on(turn, replace(noted, awaited=running.awaited - {allocation.rank}))


def give_up(turn: Turn, job: Job) -> bool:
    """The step's time is over: who has not answered was not reached. True: nothing is left to measure."""
    running = turn.state.measuring.get(job.id)
    if running is None:
        return False
    for rank in sorted(running.awaited):
        silent = Answer(
            running.number, f"no answer from {_name(turn.state, running, rank)} within {_limit(running):g} s"
        )
        noted = _with_pair(turn.state, running, rank, silent)
        running = noted or _with_devices(turn.state, running, rank, silent)
    return _go_on(turn, replace(running, awaited=frozenset()))


def order_for(state: State, allocation: Allocation) -> Order | None:
    """What the member is to measure now; None: nothing."""
    running = state.measuring.get(allocation.job_id)
    if running is None or not 0 <= allocation.rank < len(running.group.members):
        return None
    own, peer = running.group.members[allocation.rank], running.peer_of(allocation.rank)
    policy = running.policy
    if running.number > len(running.rounds):
        return Order(running.number, policy.kind, policy.seconds, own.address, group=running.group)
    if peer is None:
        return None
    other = running.group.members[peer]
    return Order(running.number, PreflightKind.NETWORK, policy.seconds, own.address, other, calls=own.rank < peer)


def waiting(state: State, job: Job) -> str:
    """``preflight: round 2 of 3``; empty when the job's group does not measure."""
    running = state.measuring.get(job.id)
    if running is None:
        return ""
    if running.number > len(running.rounds):
        return "preflight: GPUs and an all-reduce"
    return f"preflight: round {running.number} of {len(running.rounds)}"


def is_measuring(state: State, gang: Gang) -> bool:
    """Whether the gang is prepared and measures."""
    return gang.phase is GangPhase.PREPARING and gang.job_id in state.measuring


def _limit(running: Measuring) -> float:
    return PAIR_SLACK + 2 * running.policy.seconds if running.pairs else COLLECTIVES_SECONDS


def _go_on(turn: Turn, running: Measuring) -> bool:
    if running.awaited:
        turn.record(MeasuringUpdated(running))
        return False
    return not _next(turn, turn.state.jobs[running.job_id], running)


def _next(turn: Turn, job: Job, running: Measuring) -> bool:
    """Order the next step. False: there is none."""
    following = replace(running, number=running.number + 1)
    turn.record(MeasuringUpdated(following))
    if following.number > following.steps:
        turn.record(DeadlineSet(preflight_deadline(job), None))
        return False
    callers = frozenset(a for a, _ in following.pairs)
    awaited = callers or frozenset(range(len(following.group.members)))
    following = replace(following, awaited=awaited)
    turn.record(MeasuringUpdated(following))
    turn.record(DeadlineSet(preflight_deadline(job), turn.at.mono + _limit(following)))
    for allocation_id in sorted(turn.state.job_allocations[job.id]):
        turn.effect(DesiredChanged(turn.state.allocations[allocation_id].host_id, allocation_id))
    return True


def _with_pair(state: State, running: Measuring, rank: int, answer: Answer) -> Measuring | None:
    """With what a pair found, both ways; None where no pair was asked."""
    peer = running.peer_of(rank)
    if peer is None:
        return None
    one, other = _name(state, running, rank), _name(state, running, peer)
    there = Link(one, other, answer.sent, answer.latency, answer.problem)
    back = Link(other, one, answer.received, answer.latency)
    # A problem is said once, of the direction in which the call went.
    found = (there,) if answer.problem and answer.received is None else (there, back)
    return replace(running, links=(*running.links, *found))


def _with_devices(state: State, running: Measuring, rank: int, answer: Answer) -> Measuring:
    host = _name(state, running, rank)
    devices = tuple(Device(host, each.gpu, each.name, each.flops) for each in answer.devices)
    return replace(
        running,
        devices=(*running.devices, *devices),
        all_reduces=running.all_reduces if answer.all_reduce is None else (*running.all_reduces, answer.all_reduce),
        unmeasured=(*running.unmeasured, Unmeasured(host, answer.problem, answer.unable))
        if answer.problem
        else running.unmeasured,
    )


def _name(state: State, running: Measuring, rank: int) -> str:
    return host_name(state, running.group.members[rank].host_id)


def host_name(state: State, host_id: HostId) -> str:
    """The host's name, or the id of one that was removed."""
    host = state.hosts.get(host_id)
    return host_id if host is None else host.name
