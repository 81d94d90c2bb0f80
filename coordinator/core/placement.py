"""The scheduler: what waits is given to hosts, or there is a reason why not.

``plan`` runs at the end of a turn. Jobs wait in lines, one for all that ask the same (see ``queue``), and have their
turn in the order of ``rounds``. A line for which no host has room is not looked at again before a host changed, and
then only at that host. So a turn costs what changed, not what there is; and it ends early when it has done much, so
that hosts and users are answered in between.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from coordinator.core import fit, needs, regroup, reservations, spares
from coordinator.core.anywhere import Anywhere
from coordinator.core.attempts import reserve
from coordinator.core.changes import DeadlineSet, GangUpdated, JobUpdated
from coordinator.core.effects import ProbesWanted
from coordinator.core.ids import HostId, JobId
from coordinator.core.model import Gang, GangPhase, Host, Job, JobState, Phase
from coordinator.core.queue import Line
from coordinator.core.reservations import Walk
from coordinator.core.rounds import Outcome, Rounds, Work, reforms
from coordinator.core.state import State
from coordinator.core.turn import Turn

# While this deadline stands nothing is placed.
HOLD = "hold:placement"
# What changes again and again while it is planned for is left to the next turn.
MAX_PASSES = 8


def plan(turn: Turn) -> None:
    """Place what can be placed, in the order of the queue; then hold the spares that are missing.

    ``state.planning.unfinished`` says afterwards whether another turn is to go on at once.
    """
    state, planning = turn.state, turn.state.planning
    if HOLD in state.deadlines:
        return
    jobs: set[JobId] = set()
    hosts: set[HostId] = set()
    work = Work()
    due = reservations.begin(state, turn.at.served) or planning.unfinished
    # Again for what a gang gave up that can't be formed anew, and for hosts that are kept for nobody any more.
    passes = 0
    while (state.fresh_jobs or state.changed_hosts or due) and passes < MAX_PASSES:
        due, passes = False, passes + 1
        fresh, changed = state.fresh_jobs, state.changed_hosts
        state.fresh_jobs, state.changed_hosts = set(), set()
        for job_id in tuple(state.spared):
            spares.drop_useless(turn, state.jobs[job_id], changed)
        planning.freed.add(sorted(changed))
        for job_id in fresh:
            state.queue.retry(job_id)
        walk = Walk(state, turn.at.served)
        formed = _pass(turn, walk, work)
        state.changed_hosts |= walk.close()
        jobs, hosts = jobs | fresh | formed, hosts | changed
    for job_id in _by_order(state) if jobs or hosts else ():
        spares.fill(turn, state.jobs[job_id], state.hosts if job_id in jobs else hosts, walk)
    state.shares.settle(turn.at.served)
    planning.freed.cut(len(state.hosts))
    planning.taken.cut(len(state.hosts))
    planning.forget(len(state.queue.lines))


def _by_order(state: State) -> list[JobId]:
    """Jobs that ask for spares, by priority and then by age; those that are to be formed again first."""
    jobs = state.jobs
    return sorted(state.spared, key=lambda job_id: (-jobs[job_id].spec.priority, not reforms(jobs[job_id])))


def _pass(turn: Turn, walk: Walk, work: Work) -> set[JobId]:
    """One pass over the queue; the gangs that were formed."""
    anywhere, groups = Anywhere(turn, walk, work), _Groups(turn, walk, work)

    def place(job: Job, line: Line, alone: bool) -> Outcome:
        return groups.place(job, line) if line.key.gang else anywhere.place(job, line, alone)

    done = Rounds(turn.state, walk, work, turn.at.served, place).go()
    anywhere.close()
    turn.state.planning.unfinished = not done
    return groups.formed


def gang_deadline(job: Job) -> str:
    """The key of the deadline by which a gang of this job has to be prepared."""
    return f"gang:{job.id}"


def usable_hosts(state: State, need: fit.Need) -> Iterator[Host]:
    """Hosts that may get work now and could hold the node when idle."""
    for host in state.hosts.values():
        if fit.unusable(host) is None and fit.never(host, need) is None:
            yield host


# ---------------------------------------------------------------- cluster


@dataclass(slots=True)
class _Groups:
    """One pass over the queue, as far as it is about gangs; those that were formed."""

    turn: Turn
    walk: Walk
    work: Work
    formed: set[JobId] = field(default_factory=set)

    def place(self, job: Job, line: Line) -> Outcome:
        """Form the job's group, if there is any chance since its line was last tried."""
        state = self.turn.state
        changed = None if line.tried is None or line.key.alone is not None else state.planning.freed.since(line.tried)
        if changed is not None and not any(_may_join(state, host, job) for host in dict.fromkeys(changed)):
            return Outcome.BLOCKED
        self.work.looked(len(state.hosts))
        if not _place_gang(self.turn, self.walk, job):
            return Outcome.BLOCKED
        self.work.left -= job.spec.nodes
        line.tried = None
        self.formed.add(job.id)
        return Outcome.PLACED


def _may_join(state: State, host_id: HostId, job: Job) -> bool:
    host = state.hosts.get(host_id)
    if host is None or fit.unusable(host):
        return False
    usage, wanted = state.usage[host_id], needs.all_needs(job.spec)
    return any(not (fit.never(host, need) or fit.not_now(host, usage, need)) for need in wanted)


def _place_gang(turn: Turn, walk: Walk, job: Job) -> bool:
    """Hold hosts for the job's next generation, if a group can be formed; what an older one kept is given up for it, or
    because there is none."""
    state = turn.state
    choice = regroup.choose(state, job, walk.bars)
    if job.id in state.gangs:
        if (choice is None or choice.strayed) and regroup.awaited(state, job):
            return False
        regroup.dissolve(turn, job, used=None if choice is None else choice.hosts)
    if choice is None:
        return False
    generation = state.next_attempt(job.generation)
    reason = regroup.why_again(job, choice) if job.generation else ""
    turn.record(JobUpdated(replace(job, state=JobState.STARTING, generation=generation, reason=reason)))
    turn.record(GangUpdated(Gang(job.id, generation, GangPhase.PREPARING)))
    for rank, (host_id, held) in enumerate(zip(choice.hosts, choice.held, strict=True)):
        reserve(turn, job, rank, state.hosts[host_id], held, Phase.PREPARED, generation, choice.variant)
    for spare in spares.spares_of(state, job):
        # The members probe it while they are prepared.
        turn.effect(ProbesWanted(spare.host_id, choice.hosts))
    turn.record(DeadlineSet(gang_deadline(job), turn.at.mono + state.timing.prepare))
    return True
