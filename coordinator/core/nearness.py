"""``near``: how far hosts are from where a job's data lives, as a TCP connection from each of them shows.

Hosts are told to measure when a job that names a target is submitted or planned, and when they come online while one
waits. Such a job is placed once all have answered, or with what is known after ``PATIENCE``. What was measured holds
for ``FRESH`` seconds; then it is measured again for jobs that still wait, and else forgotten.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice, zip_longest

from coordinator.core.changes import DeadlineSet, DistancesAsked, DistancesDropped, DistanceSeen, DistancesLate
from coordinator.core.effects import DistancesWanted
from coordinator.core.events import PlanAsked
from coordinator.core.ids import HostId
from coordinator.core.model import Distance, Host, HostState, Job
from coordinator.core.state import State
from coordinator.core.turn import Turn

# Seconds that a job waits for hosts' answers at most; hosts give up a little earlier.
PATIENCE = 2.0
# Seconds for which a measurement holds.
FRESH = 600.0
# So many hosts open connections to one target at a time: a cluster must not be a flood.
MAX_HOSTS = 256
# So many targets of waiting jobs is a host told of when it comes online.
MAX_TARGETS_AT_ONCE = 32


def seconds(state: State, host_id: HostId, target: str) -> float | None:
    """How long the host's TCP connection to ``target`` took; None: it failed (see ``failure``) or was not measured."""
    known = state.distances.of(target).get(host_id)
    return None if known is None else known.seconds


def failure(state: State, host_id: HostId, target: str) -> str:
    """Why the host did not get through to ``target``; empty when it did, or has not tried."""
    known = state.distances.of(target).get(host_id)
    return "" if known is None else known.reason


def round_trip(state: State, host_id: HostId) -> float | None:
    """Seconds from the host to the coordinator and back; None: not measured yet."""
    return state.distances.round_trip(host_id)


def measuring(state: State, target: str | None) -> bool:
    """Whether hosts' answers about ``target`` are awaited: a job that wants to be near it is not placed meanwhile."""
    return target is not None and patience_deadline(target) in state.deadlines


def patience_deadline(target: str) -> str:
    """The key of the deadline until which answers about a target are awaited."""
    return f"near:{target}"


def fresh_deadline(target: str) -> str:
    """The key of the deadline until which what is known of a target holds."""
    return f"fresh:{target}"


# ---------------------------------------------------------------- asking


def on_asked(turn: Turn, event: PlanAsked) -> None:
    """Somebody wants to know where a job would go."""
    ask(turn, event.near)


def ask(turn: Turn, target: str) -> None:
    """Have all usable hosts measure, but those of which the distance is known, and await their answers."""
    state = turn.state
    known, awaited = state.distances.of(target), state.distances.awaited(target)
    # What failed is tried again, for it may have been mended; but only what nobody has tried is waited for.
    missing = [h for h in _usable(state) if h.id not in awaited and (h.id not in known or known[h.id].reason)]
    hosts = list(islice(_of_all_places(missing), MAX_HOSTS - len(awaited)))
    if any(host.id not in known for host in hosts) and not measuring(state, target):
        turn.record(DeadlineSet(patience_deadline(target), turn.at.mono + PATIENCE))
    _order(turn, target, hosts)


def on_online(turn: Turn, host: Host) -> None:
    """The host came into contact: it may do for jobs that wait. They do not wait for its answer."""
    state = turn.state
    waiting = (target for target in reversed(state.near) if _awaits_place(state, target))
    for target in islice(waiting, MAX_TARGETS_AT_ONCE):
        if host.id not in state.distances.of(target) and len(state.distances.awaited(target)) < MAX_HOSTS:
            _order(turn, target, [host])


def _order(turn: Turn, target: str, hosts: list[Host]) -> None:
    state = turn.state
    if not hosts and state.distances.is_known(target):
        return
    if fresh_deadline(target) not in state.deadlines:
        turn.record(DeadlineSet(fresh_deadline(target), turn.at.mono + FRESH))
    turn.record(DistancesAsked(target, tuple(host.id for host in hosts)))
    for host in hosts:
        turn.effect(DistancesWanted(host.id, (target,)))


def _usable(state: State) -> Iterator[Host]:
    return (h for h in state.hosts.values() if h.state is HostState.ONLINE and not h.cordoned and not h.drained)


def _of_all_places(hosts: Iterable[Host]) -> Iterator[Host]:
    """The hosts of each backend and region in turns: where not all are asked, none of these is left out."""
    places: dict[tuple[str, str], list[Host]] = {}
    for host in hosts:
        places.setdefault((host.facts.backend, host.facts.region), []).append(host)
    return (host for row in zip_longest(*places.values()) for host in row if host is not None)


def _awaits_place(state: State, target: str) -> bool:
    return any(state.pending[job] for job in state.near.get(target, ()))


# ---------------------------------------------------------------- answers and time


def on_measured(turn: Turn, distance: Distance) -> None:
    """Take a host's answer in; with the last one, jobs are placed."""
    state = turn.state
    turn.record(DistanceSeen(distance))
    if measuring(state, distance.target) and not state.distances.awaited(distance.target):
        turn.record(DeadlineSet(patience_deadline(distance.target), None))
        _place_now(state, distance.target)


def on_impatient(turn: Turn, target: str) -> None:
    """The time for answers is over: jobs are placed with what is known."""
    turn.record(DistancesLate(target))
    _place_now(turn.state, target)


def on_stale(turn: Turn, target: str) -> None:
    """What is known of a target is old: measure again for jobs that wait, or forget it."""
    state = turn.state
    if _awaits_place(state, target):
        turn.record(DistancesLate(target))
        _order(turn, target, list(islice(_of_all_places(_usable(state)), MAX_HOSTS)))
    else:
        turn.record(DistancesDropped(target))


def _place_now(state: State, target: str) -> None:
    state.fresh_jobs.update(job for job in state.near.get(target, ()))


def waiting(state: State, job: Job) -> str:
    """What a job that is not placed yet waits for, in words; empty when it is not for this."""
    target = job.spec.near
    if not measuring(state, target):
        return ""
    assert target is not None
    left = len(state.distances.awaited(target))
    return f"waits for {left} host(s) to measure how near {target} they are, {PATIENCE:g} s at most"
