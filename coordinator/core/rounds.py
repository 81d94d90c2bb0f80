"""The order in which what waits is placed: priority; then groups that are to be formed again; then the user who holds
least (see ``fairness``), one node at a time; then the oldest job."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from heapq import heapify, heappop, heappush, heapreplace

from coordinator.core import max_running, nearness
from coordinator.core.ids import JobId
from coordinator.core.model import Job, JobState
from coordinator.core.queue import Line, Rank, forms_again
from coordinator.core.reservations import Walk
from coordinator.core.state import State

# A turn places about so many nodes, or looks at so many times more hosts, before it lets others have their turn.
TURN_WORK = 400.0
LOOKS_A_PLACEMENT = 25


@dataclass(slots=True)
class Work:
    """What is left of a turn's work, in placements."""

    left: float = TURN_WORK

    def looked(self, hosts: int) -> None:
        """So many hosts were looked at."""
        self.left -= hosts / LOOKS_A_PLACEMENT


class Outcome(Enum):
    """What became of a job's turn. BLOCKED: no other job of its line has a chance either; PASSED: others may have."""

    PLACED = "placed"
    PASSED = "passed"
    BLOCKED = "blocked"


# Places of a job what may be placed before it is another user's turn; the flag says that nobody else waits.
Place = Callable[[Job, Line, bool], Outcome]
# A job that is first in its line: whether it is none that is to be formed again, its number, its id, its line.
_Head = tuple[bool, int, JobId, Line]
# A user, by the order of turns: the same of the first job, the user's share, the job's number, the user's name.
_User = tuple[bool, float, int, str]


def reforms(job: Job) -> bool:
    """Whether the job is a group that is to be formed again: those come first, for they hold hosts meanwhile."""
    return forms_again(job) and job.state is JobState.QUEUED


@dataclass(slots=True)
class Rounds:
    """One pass over the queue at ``now`` (served seconds)."""

    state: State
    walk: Walk
    work: Work
    now: float
    place: Place
    # Lines without a chance, for the rest of the pass.
    _blocked: set[Line] = field(default_factory=set)

    def go(self) -> bool:
        """Place what the turn has work left for; whether that was all that could be placed."""
        levels: dict[int, list[tuple[str, Line]]] = {}
        log, full = self.state.planning.freed.end, self.walk.full
        for line in self.state.queue.lines.values():
            if line.tried != log or not full:
                for priority, user in line.jobs:
                    levels.setdefault(priority, []).append((user, line))
        return all(self._level(priority, levels[priority]) for priority in sorted(levels, reverse=True))

    def _level(self, priority: int, lines: list[tuple[str, Line]]) -> bool:
        """Place what has one priority; False when the work was over before."""
        self._promised(priority)
        shares = self.state.shares
        heads: dict[str, list[_Head]] = {}
        for user, line in lines:
            if (priority, user) not in line.jobs:
                continue
            number, job_id = line.jobs[priority, user][0]
            heads.setdefault(user, []).append((not reforms(self.state.jobs[job_id]), number, job_id, line))
        for mine in heads.values():
            heapify(mine)
        users: list[_User] = [
            (mine[0][0], shares.key(user, self.now), mine[0][1], user) for user, mine in heads.items()
        ]
        heapify(users)
        while users:
            if self.work.left <= 0:
                return False
            _, share, _, user = heappop(users)
            mine = heads[user]
            if mine[0][-1] not in self._blocked and self._first(mine, (priority, user), alone=not users):
                share = shares.key(user, self.now)
            while mine and mine[0][-1] in self._blocked:
                heappop(mine)
            if mine:
                heappush(users, (mine[0][0], share, mine[0][1], user))
        return True

    def _first(self, mine: list[_Head], rank: Rank, *, alone: bool) -> bool:
        """It is the turn of the first of a user's jobs; whether anything of it was placed."""
        _, _, job_id, line = mine[0]
        if nearness.measuring(self.state, line.key.asks.near):
            # Its jobs are fresh again when the answers are there, or late.
            self._blocked.add(line)
            return False
        log = self.state.planning.freed.end
        outcome = Outcome.BLOCKED
        if line.tried != log:
            outcome = self.place(self.state.jobs[job_id], line, alone)
        if outcome is Outcome.BLOCKED:
            line.tried = log
            self._blocked.add(line)
            self._block(line)
        elif outcome is Outcome.PASSED or job_id not in self.state.queue:
            _next_of(self.state, mine, rank)
        return outcome is Outcome.PLACED

    def _block(self, line: Line) -> None:
        """Nothing more of the line can be placed: hosts may be kept for one of those who come first in it."""
        for jobs in line.jobs.values():
            first = next((job_id for _, job_id in jobs if self._waits_for_room(job_id, line)), None)
            if first is not None and not self.walk.full:
                self.walk.blocked(self.state.jobs[first])

    def _waits_for_room(self, job_id: JobId, line: Line) -> bool:
        if line.key.gang:
            return job_id not in self.state.gangs
        # All its nodes may run, or as many as may: what it waits for are further copies, or its own ends.
        room = max_running.room(self.state.jobs[job_id], self.state.counts[job_id])
        return bool(self.state.ready[job_id] and room)

    def _promised(self, priority: int) -> None:
        """Those for whom hosts are kept come first: what they wait for is kept from all others of their line."""
        for job in self.walk.promised(priority):
            line = self.state.queue.line_of(job.id)
            measured = line is not None and not nearness.measuring(self.state, line.key.asks.near)
            if line is not None and measured and self.work.left > 0:
                self.place(job, line, False)


def _next_of(state: State, mine: list[_Head], rank: Rank) -> None:
    """The first of a user's jobs had its turn: the next of its line takes its place."""
    _, number, _, line = mine[0]
    follower = line.after(rank, number)
    if follower is None:
        heappop(mine)
    else:
        heapreplace(mine, (not reforms(state.jobs[follower[1]]), *follower, line))
