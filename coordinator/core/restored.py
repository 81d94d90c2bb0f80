"""After a backup was put back: hosts may know, and run, more than the coordinator does.

What happened after the backup was taken is not known, so nothing that was named then may ever be meant by a new name:
numbers of jobs, hosts, attempts and epochs jump ahead of all that can have been given out. And nothing is placed until
every host has either called, and so let go of what is not known here, or let its lease end: a node that waited when the
backup was taken may run by now.
"""

from __future__ import annotations

from dataclasses import replace

from coordinator.core import backlog, copies
from coordinator.core.changes import (
    AllocationFreed,
    DeadlineSet,
    HostUpdated,
    NodeUpdated,
    NumbersSkipped,
)
from coordinator.core.effects import DesiredChanged
from coordinator.core.events import BackupRestored
from coordinator.core.ids import ATTEMPTS_A_LIFE
from coordinator.core.lifecycle import OBSERVED_ORDER
from coordinator.core.model import Allocation, GangPhase, NodeState, Phase
from coordinator.core.placement import HOLD
from coordinator.core.spares import is_spare, let_go
from coordinator.core.spec import Placement
from coordinator.core.stopping import lose_gang
from coordinator.core.turn import Turn

# More than can have been accepted in a second, by far.
_JOBS_A_SECOND = 1000
_HOSTS_A_SECOND = 10
_EPOCHS = 1_000_000
# A backup's age is by wall clocks, which may be set in between.
_LEAST_AGE = 600.0
REASON = "the coordinator was restored from a backup that was taken before it ran"


def on_restored(turn: Turn, event: BackupRestored) -> None:
    """Make the state of a backup one to go on from. Repeating it is harmless."""
    _skip_numbers(turn, max(event.age, _LEAST_AGE))
    for host in tuple(turn.state.hosts.values()):
        turn.record(HostUpdated(replace(host, epoch=host.epoch + _EPOCHS)))
    for job_id, rank, stored in event.short:
        node = turn.state.nodes[job_id][rank]
        # Nobody may be left who has the rest, and a reader would wait for it.
        turn.record(NodeUpdated(replace(node, log_bytes=stored)))
    for allocation in tuple(turn.state.allocations.values()):
        if allocation.id in turn.state.allocations and OBSERVED_ORDER[allocation.observed] < _RUNNING:
            _let_go(turn, allocation)
    turn.record(DeadlineSet(HOLD, turn.at.mono + turn.state.timing.lost))


_RUNNING = OBSERVED_ORDER[Phase.RUNNING]


def _skip_numbers(turn: Turn, age: float) -> None:
    state = turn.state
    turn.record(
        NumbersSkipped(
            jobs=_ahead(state.last_job_number, int(age * _JOBS_A_SECOND)),
            hosts=_ahead(state.last_host_number, int(age * _HOSTS_A_SECOND)),
            attempts=(state.attempt_floor // ATTEMPTS_A_LIFE + 1) * ATTEMPTS_A_LIFE,
        )
    )


def _ahead(number: int, skipped: int) -> int:
    """At least ``skipped`` after ``number``, and so round that people see that something happened there."""
    step = int(10 ** len(str(skipped)))
    return ((number + skipped) // step + 1) * step


def _let_go(turn: Turn, allocation: Allocation) -> None:
    """It was given to its host and not seen to run, and may have run and ended since: the next attempt is a new one."""
    state = turn.state
    job = state.jobs[allocation.job_id]
    if allocation.wanted is Phase.STOPPING:
        return
    if is_spare(job.spec, allocation):
        let_go(turn, allocation)
        return
    if job.spec.placement is Placement.CLUSTER:
        gang = state.gangs[job.id]
        if gang.phase is not GangPhase.STOPPING:
            lose_gang(turn, gang, REASON, retry=True)
        return
    node = state.nodes[job.id][allocation.rank]
    turn.record(AllocationFreed(allocation.id))
    backlog.succeed(turn, allocation)
    others = copies.held(state, job.id, allocation.rank)
    left = copies.led_by(node, copies.lead(others)) if others else replace(node, state=NodeState.PENDING)
    turn.record(NodeUpdated(replace(left, reason=REASON)))
    turn.effect(DesiredChanged(allocation.host_id, allocation.id))
