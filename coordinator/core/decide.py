"""``decide``: one handler an event. ``settle``: what follows at the end of a turn. The simulator runs the same two."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from coordinator.core import (
    backlog,
    budgets,
    draining,
    health,
    health_orders,
    jobs,
    leases,
    leaving,
    ledger,
    nearness,
    placement,
    preempt,
    regroup,
    rendezvous,
    restored,
    retrying,
    sessions,
    starts,
    startup,
    upgrades,
)
from coordinator.core.changes import VOLATILE, DeadlineSet, HostSeen, HostSilent, TimeServed, TryDelayed
from coordinator.core.events import (
    BackupRestored,
    CoordinatorStarted,
    CordonRequested,
    DrainRequested,
    Event,
    HostJoined,
    HostLeft,
    HostReported,
    JobSubmitted,
    PlanAsked,
    QuarantineRequested,
    ReleaseRequested,
    RemovalRequested,
    RetryRequested,
    SessionOpened,
    StopRequested,
    TestRequested,
    Ticked,
    UpgradeCancelRequested,
    UpgradeRequested,
    VacateAsked,
)
from coordinator.core.ids import HostId, JobId
from coordinator.core.model import GangPhase, Host, HostState, Job
from coordinator.core.state import State
from coordinator.core.turn import Turn

# How often the coordinator's own time is written down, with something else that is: a turn that needs no disk, as one
# of heartbeats alone, must not begin to. A crash forgets so much of it, or what passed since anything last happened.
CLOCK_SECONDS = 10.0
# Except while it is paid for: what passed, and is forgotten, is charged to nobody and counts for no budget.
CHARGED_SECONDS = 60.0


def decide(turn: Turn, event: Event) -> Any:
    """Decide one event; its answer is for the caller. Raises errors.Refused, having recorded nothing."""
    return _HANDLERS[type(event)](turn, event)


def settle(turn: Turn) -> None:
    """Plan for what the turn freed and what it asked for. Once a turn, however many events it had."""
    _charge(turn)
    starts.follow(turn)
    placement.plan(turn)
    preempt.plan(turn)
    if turn.state.changed_hosts:
        # What is given up for who waits is open at once where nobody waits for it any more.
        placement.plan(turn)
    backlog.fill(turn)
    _charge(turn)
    # A job may have ended for its budget just now: what follows must be on disk with its end.
    starts.follow(turn)
    health.follow(turn)
    _keep_time(turn)


def _keep_time(turn: Turn) -> None:
    """Write the coordinator's own time down when it is due."""
    passed = turn.at.served - turn.state.served
    if passed < CLOCK_SECONDS:
        return
    charged = passed >= CHARGED_SECONDS and turn.state.bill.priced
    if charged or not all(isinstance(c, VOLATILE) for c in turn.changes):
        turn.record(TimeServed(turn.at.served))


def _charge(turn: Turn) -> None:
    """Charge for what was freed, and hold jobs to their budgets; stopping one may free its spares at once."""
    ledger.book(turn)
    budgets.settle(turn)
    ledger.book(turn)


def next_deadline(state: State) -> float | None:
    """The moment (monotonic seconds) at which ``Ticked`` is due; None: never."""
    return min(state.deadlines.values(), default=None)


def _on_started(turn: Turn, event: CoordinatorStarted) -> None:
    # Nobody was listening while the coordinator was away: each host has one fresh lease to call again.
    for host in tuple(turn.state.hosts.values()):
        if host.hardware is not None:
            turn.record(HostSeen(replace(host, state=HostState.SUSPECT)))
            turn.record(HostSilent(host.id, turn.at.mono))
            turn.record(DeadlineSet(leases.lease_deadline(host.id), turn.at.mono + turn.state.timing.lost))
    for host in tuple(turn.state.hosts.values()):
        sessions.await_ephemeral(turn, host)
        draining.watch(turn, host)
        health.arm(turn, host)
    for gang in tuple(turn.state.gangs.values()):
        if gang.phase is GangPhase.PREPARING:
            job = turn.state.jobs[gang.job_id]
            turn.record(DeadlineSet(placement.gang_deadline(job), turn.at.mono + turn.state.timing.prepare))
        if gang.phase is GangPhase.RUNNING:
            startup.begin(turn, turn.state.jobs[gang.job_id])
        if gang.phase is GangPhase.REFORMING:
            at = turn.at.mono + turn.state.timing.lost
            turn.record(DeadlineSet(regroup.reform_deadline(turn.state.jobs[gang.job_id]), at))
    for job_id in tuple(turn.state.unfinished):
        starts.enter(turn, turn.state.jobs[job_id])
    turn.state.fresh_jobs.update(turn.state.unfinished)
    budgets.resume(turn)
    upgrades.resume(turn)


def _on_report(turn: Turn, event: HostReported) -> float:
    lease = sessions.on_report(turn, event)
    if event.upgrade is not None:
        upgrades.on_progress(turn, turn.state.hosts[event.host_id], event.upgrade)
    return lease


def _on_removal(turn: Turn, event: RemovalRequested) -> Host:
    host = sessions.on_removal(turn, event)
    upgrades.on_removed(turn, host.id)
    return host


def _on_left(turn: Turn, event: HostLeft) -> Host | None:
    host = leaving.on_left(turn, event)
    upgrades.on_removed(turn, event.host_id)
    return host


def _on_ticked(turn: Turn, event: Ticked) -> None:
    state = turn.state
    due = [key for key, at in state.deadlines.items() if at <= turn.at.mono]
    for key in due:
        turn.record(DeadlineSet(key, None))
        kind, _, name = key.partition(":")
        if kind in _JOB_DEADLINES and JobId(name) in state.jobs:
            _JOB_DEADLINES[kind](turn, state.jobs[JobId(name)])
        if kind == "steer" and JobId(name) in state.unfinished:
            state.fresh_jobs.add(JobId(name))
        if kind == "rest":
            _rested(turn, name)
        if kind == "reform" and JobId(name) in state.unfinished:
            # Survivors out of contact are waited for no longer: placement.plan looks at the gang again.
            state.fresh_jobs.add(JobId(name))
        if kind == "starts":
            starts.on_time(turn)
        if kind == "near":
            nearness.on_impatient(turn, name)
        if kind == "fresh":
            nearness.on_stale(turn, name)
        if HostId(name) in state.hosts:
            _host_is_due(turn, kind, state.hosts[HostId(name)])


def _host_is_due(turn: Turn, kind: str, host: Host) -> None:
    if kind == "health":
        health.on_due(turn, host)
    if kind == "vacate":
        draining.vacate(turn, host)
    if kind == "upgrade":
        upgrades.on_due(turn, host)
    if kind == "lease":
        leases.on_lease_deadline(turn, host)
        if host.id not in turn.state.hosts:
            upgrades.on_removed(turn, host.id)
    if kind == "probe" and host.state is HostState.ONLINE:
        sessions.order_probes(turn, host)


def _rested(turn: Turn, name: str) -> None:
    job, _, rank = name.partition("/")
    if JobId(job) in turn.state.resting:
        turn.record(TryDelayed(JobId(job), int(rank) if rank else None, None))


_JOB_DEADLINES: dict[str, Callable[[Turn, Job], object]] = {
    "gang": rendezvous.on_deadline,
    "preflight": rendezvous.on_preflight_deadline,
    "order": startup.on_deadline,
    "capacity": jobs.on_no_capacity,
    "budget": budgets.check,
}

_HANDLERS: dict[type, Callable[[Turn, Any], Any]] = {
    CoordinatorStarted: _on_started,
    BackupRestored: restored.on_restored,
    JobSubmitted: jobs.on_submitted,
    PlanAsked: nearness.on_asked,
    StopRequested: jobs.on_stop_requested,
    RetryRequested: retrying.on_retry_requested,
    HostJoined: sessions.on_joined,
    CordonRequested: draining.on_cordon,
    DrainRequested: draining.on_drain,
    RemovalRequested: _on_removal,
    UpgradeRequested: upgrades.on_requested,
    UpgradeCancelRequested: upgrades.on_cancel,
    VacateAsked: draining.on_vacate_asked,
    HostLeft: _on_left,
    QuarantineRequested: health_orders.on_quarantine,
    ReleaseRequested: health_orders.on_release,
    TestRequested: health_orders.on_test,
    SessionOpened: sessions.on_session,
    HostReported: _on_report,
    Ticked: _on_ticked,
}
