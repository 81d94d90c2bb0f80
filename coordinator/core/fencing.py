"""Fences: one GPU, or a whole host, gets no new work, and what is there goes. And the breaker, which stops that when
too many hosts seem to be bad at once: then it is rather what we look at that is wrong, or all of them by one cause.
"""

from __future__ import annotations

from dataclasses import replace

from coordinator.core.health_book import enter, holders, name_of, of_host, put
from coordinator.core.health_records import GpuHealth, Health
from coordinator.core.host_events import note
from coordinator.core.ids import HostId
from coordinator.core.model import Host
from coordinator.core.regroup import is_kept
from coordinator.core.spares import is_spare
from coordinator.core.state import State
from coordinator.core.turn import Turn
from coordinator.core.vacating import move
from coordinator.core.verdicts import Grip

# The breaker: in so many seconds GPUs of no more hosts are fenced than this part of all, or than so many.
WINDOW = 3600.0
PART = 0.2
LEAST = 2
# Fences and failed tests within so many seconds of each other are a row: each makes the next rest twice as long.
ROW = 86400.0


def limit(state: State) -> int:
    """How many hosts may be fenced within the window."""
    return max(LEAST, int(PART * len(state.hosts)))


def opens_at(state: State, host_id: HostId | None, now: float) -> float:
    """When (served seconds) the breaker lets this host be fenced; 0: now. None: a host that is not fenced yet."""
    recent = sorted(
        health.fenced_since
        for health in state.health.values()
        if health.fenced_since and now - health.fenced_since < WINDOW and health.host_id != host_id
    )
    own = None if host_id is None else state.health.get(host_id)
    counted = own is not None and bool(own.fenced_since) and now - own.fenced_since < WINDOW
    if counted or len(recent) < limit(state):
        return 0.0
    return recent[len(recent) - limit(state)] + WINDOW


def fence(turn: Turn, host: Host, record: GpuHealth, grip: Grip, reason: str) -> None:
    """Take it out of service. If the breaker forbids it, it is a suspect until the breaker lets it be fenced."""
    now = turn.at.served
    if opens_at(turn.state, host.id, now):
        _hold_back(turn, host, record, grip, reason)
        return
    known = of_host(turn.state, host.id)
    row = record.failures + 1 if record.failures and now - record.since < ROW else 1
    fenced = replace(record, failures=row, held_back=0, manual=False)
    # A window that begins anew with each fence of the same host counts it for as long as it may be one too many.
    enter(turn, host.id, fenced, Health.DRAINING, reason, fenced_since=max(now, known.fenced_since))
    vacate(turn, host, record.gpu, grip, reason)


def _hold_back(turn: Turn, host: Host, record: GpuHealth, grip: Grip, reason: str) -> None:
    hours = f"{limit(turn.state)} hosts were fenced within an hour, which is as many as may be"
    text = f"{reason}; not fenced by the breaker: {hours}"
    held = replace(record, held_back=max(record.held_back, grip), reason=text)
    if record.state is Health.SUSPECT and record.held_back:
        put(turn, host.id, held)
    else:
        enter(turn, host.id, held, Health.SUSPECT, text)
        what = f"{name_of(host, record.gpu)} stays in service though it should not: {hours}; look at what they share"
        note(turn, host, "breaker", what, gpu=record.gpu, evidence=record.evidence)


def vacate(turn: Turn, host: Host, gpu: str, grip: Grip, reason: str) -> None:
    """Have what holds the GPU, or all of the host, go as the grip says: in its own time, with its grace, or at once."""
    why = f"{name_of(host, gpu)} of host {host.name} is out of service: {reason}"
    for found in holders(turn.state, host, gpu):
        # Another one of them may have taken it along.
        allocation = turn.state.allocations.get(found.id)
        if allocation is None:
            continue
        job = turn.state.jobs[allocation.job_id]
        idle = allocation.behind is not None or is_spare(job.spec, allocation) or is_kept(job, allocation)
        if grip >= Grip.MOVE or idle:
            move(turn, allocation, why, abort=grip is Grip.END)
