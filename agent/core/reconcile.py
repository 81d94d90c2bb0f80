"""From what is wanted and what is, to what to do next. One decision an allocation; repeating it is harmless."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent.core.lease import ENDED_REASON, Lease, end_for, ended_reason, expired
from agent.core.model import AllocationId, Cause, Desired, Observed, Phase, Wanted

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

DEFAULT_SIGNAL = "TERM"
NO_RECORD = "no record of it on this host"
NOT_WANTED = "the coordinator no longer knows it"

_LIVE = (Phase.STARTING, Phase.RUNNING, Phase.STOPPING)


@dataclass(frozen=True, slots=True)
class Prepare:
    """Make its directory and files; for a gang's member also find a port and probe the others."""

    desired: Desired


@dataclass(frozen=True, slots=True)
class Start:
    """Spawn its process."""

    desired: Desired


@dataclass(frozen=True, slots=True)
class Stop:
    """Signal its processes, and kill them after ``grace`` seconds."""

    id: AllocationId
    signal: str
    grace: float
    cause: Cause
    reason: str


@dataclass(frozen=True, slots=True)
class End:
    """It has no process; it is over without one."""

    id: AllocationId
    cause: Cause
    reason: str


@dataclass(frozen=True, slots=True)
class Forget:
    """Nobody needs its record any more."""

    id: AllocationId


Action = Prepare | Start | Stop | End | Forget


def reconcile(
    ids: Iterable[AllocationId],
    desired: Mapping[AllocationId, Desired] | None,
    observed: Mapping[AllocationId, Observed],
    lease: Lease | None,
    now: float,
) -> list[Action]:
    """What to do for each of ``ids``; ``lease`` and ``now`` are on one monotonic clock.

    ``desired`` is ``None`` until the coordinator has said what it wants: until then only the end of the lease counts,
    or a restarted agent would take its own ignorance for an order to stop.
    """
    ended = lease is not None and expired(lease, now)
    actions: list[Action] = []
    for key in ids:
        want, have = None if desired is None else desired.get(key), observed.get(key)
        if not ended or lease is None:
            action = None if desired is None else _step(want, have)
            if isinstance(action, Start) and desired is not None and _is_early(action.desired, desired, observed):
                action = None
        elif have is not None and have.phase in _LIVE and not _due(have, lease, now):
            # Kept: it goes on, and nothing but an order to stop touches it.
            action = None if desired is None else _stop_if_due(want, have)
        else:
            action = _fenced(have, want, lease)
        if action is not None:
            actions.append(action)
    return actions


def next_end(observed: Iterable[Observed], lease: Lease, now: float) -> float | None:
    """When, after ``now``, the next process outlasts its time out of contact; None: none will."""
    ends = (end_for(lease, have.after) for have in observed if have.phase in _LIVE)
    return min((end for end in ends if end is not None and end > now), default=None)


def _due(have: Observed, lease: Lease, now: float) -> bool:
    end = end_for(lease, have.after)
    return end is not None and now >= end


def _step(want: Desired | None, have: Observed | None) -> Action | None:
    if have is None:
        return None if want is None else _unseen(want)
    match have.phase:
        case Phase.PREPARING:
            return _end_unless_wanted(want, have)
        case Phase.PREPARED:
            if want is not None and want.phase is Wanted.RUNNING:
                return Start(want)
            return _end_unless_wanted(want, have)
        case Phase.STARTING | Phase.RUNNING | Phase.STOPPING:
            return _stop_if_due(want, have)
        case Phase.ENDED:
            done = want is None and have.acknowledged and have.log_done
            return Forget(have.id) if done else None


def _is_early(
    want: Desired, desired: Mapping[AllocationId, Desired], observed: Mapping[AllocationId, Observed]
) -> bool:
    """Whether what it begins behind is still to begin itself: the spawner must hear of that one first."""
    if want.behind is None:
        return False
    before = observed.get(want.behind)
    return want.behind in desired if before is None else before.phase in (Phase.PREPARING, Phase.PREPARED)


def _unseen(want: Desired) -> Action:
    if want.started:
        # It ran here once. To start it now would be a second run that nobody asked for.
        return End(want.id, Cause.HOST, NO_RECORD)
    if want.phase is Wanted.STOPPED:
        return End(want.id, Cause.STOPPED, want.stop_reason or "stopped before it started")
    return Prepare(want)


def _end_unless_wanted(want: Desired | None, have: Observed) -> Action | None:
    if want is None:
        return End(have.id, Cause.STOPPED, NOT_WANTED)
    if want.phase is Wanted.STOPPED:
        return End(have.id, Cause.STOPPED, want.stop_reason or "stopped before it started")
    return None


def _stop_if_due(want: Desired | None, have: Observed) -> Action | None:
    stopping = have.phase is Phase.STOPPING
    if want is None:
        return None if stopping else Stop(have.id, DEFAULT_SIGNAL, 0.0, Cause.STOPPED, NOT_WANTED)
    if want.phase is not Wanted.STOPPED or (stopping and want.stop_grace >= have.stop_grace):
        return None
    name = want.stop_signal or want.spec.stop_signal or DEFAULT_SIGNAL
    return Stop(have.id, name, want.stop_grace, Cause.STOPPED, want.stop_reason)


def _fenced(have: Observed | None, want: Desired | None, lease: Lease) -> Action | None:
    """The lease has ended: what runs is stopped within the coordinator's grace, nothing begins."""
    if have is None or have.phase in (Phase.ENDED, Phase.STOPPING):
        return None
    if have.phase in (Phase.PREPARING, Phase.PREPARED):
        return End(have.id, Cause.HOST, ENDED_REASON)
    grace = lease.grace
    name = DEFAULT_SIGNAL
    if want is not None:
        name = want.stop_signal or want.spec.stop_signal or DEFAULT_SIGNAL
        if want.spec.stop_duration is not None:
            grace = min(grace, want.spec.stop_duration)
    return Stop(have.id, name, grace, Cause.HOST, ended_reason(lease, have.after))
