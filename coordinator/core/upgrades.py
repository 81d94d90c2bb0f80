"""Rolling upgrades of agents: some hosts at a time are told to go over to the coordinator's release.

    waiting -> ordered -> installing -> restarting -> done | rolled-back | failed, or skipped

A host says how far it is, and one that does not by its time has failed. The next hosts are told when all that were
told before have come to their end; too many failures, and nobody else is told. What runs on a host is not touched by
any of it, and a host that falls silent on the way keeps its lease like any other.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from coordinator.core import host_events
from coordinator.core.changes import DeadlineSet, HostUpgradeUpdated, RolloutUpdated
from coordinator.core.effects import UpgradeWanted
from coordinator.core.errors import Conflict, Invalid, NotFound
from coordinator.core.events import UpgradeCancelRequested, UpgradeProgress, UpgradeRequested
from coordinator.core.ids import HostId
from coordinator.core.leases import upgrade_deadline
from coordinator.core.model import Host, HostState
from coordinator.core.rollout import BUSY, FAILURES, HostUpgrade, Rollout, RolloutState, Step
from coordinator.core.sessions import find_host
from coordinator.core.state import State
from coordinator.core.turn import Turn
from coordinator.core.words import several

# How long the new version may take to prove itself, and then the old one to come back and say so; in seconds.
TRIAL_SECONDS = 60.0
RETURN_SECONDS = 60.0

CANNOT = (
    "cannot upgrade itself: its agent was not installed by the installer; upgrade it as it was installed, or install "
    "it with the line of 'coordinator token create --show-install'"
)
SAME = "is of this release; its agent was not installed by the installer"
AWAY = "was not in contact when its turn came; upgrade it when it is back"


@dataclass(frozen=True, slots=True)
class UpgradeOrder:
    """What a host is told. ``seconds``: for the installation; ``trial``: for the new version's first contact."""

    rollout: Rollout
    seconds: float
    trial: float = TRIAL_SECONDS


def on_requested(turn: Turn, event: UpgradeRequested) -> Rollout:
    """Begin a roll-out. Raises NotFound, Invalid, and Conflict while another one is under way."""
    state = turn.state
    _refuse_second(state)
    targets = _targets(state, event)
    last = state.rollouts.last
    release = event.release
    rollout = Rollout(
        number=last.number + 1 if last is not None else 1,
        version=release.version,
        build=release.build,
        sha256=release.sha256,
        size=release.size,
        batch=event.batch or max(1, int(len(targets) * event.percent / 100.0)),
        max_failures=event.max_failures,
        install_seconds=event.install_seconds,
        user=event.user,
        started_at=turn.at.wall,
    )
    turn.record(RolloutUpdated(rollout))
    for place, host in enumerate(targets):
        turn.record(
            HostUpgradeUpdated(
                HostUpgrade(host.id, rollout.number, place, from_build=host.build, changed_at=turn.at.wall)
            )
        )
    advance(turn)
    begun = turn.state.rollouts.last
    assert begun is not None
    return begun


def _refuse_second(state: State) -> None:
    last = state.rollouts.last
    if last is not None and last.state is RolloutState.RUNNING:
        raise Conflict(
            f"an upgrade to {last.build} is under way since {last.user} began it: follow it with 'coordinator host "
            "upgrade --status', or end it with 'coordinator host upgrade --cancel'"
        )
    busy = [state.hosts[upgrade.host_id].name for upgrade in state.rollouts.at(*BUSY)]
    if busy:
        raise Conflict(
            f"{several(busy, 5)} still at the last upgrade: try again when 'coordinator host upgrade --status' is done"
        )


def _targets(state: State, event: UpgradeRequested) -> list[Host]:
    if bool(event.hosts) is event.everything:
        raise Invalid("name the hosts to upgrade, or all of them with --all; not both, and not neither")
    if event.everything and not state.hosts:
        raise NotFound("there is no host to upgrade; 'coordinator token create' begins one")
    if event.everything:
        return list(state.hosts.values())
    return list({host.id: host for host in (find_host(state, ref) for ref in event.hosts)}.values())


def on_cancel(turn: Turn, event: UpgradeCancelRequested) -> Rollout:
    """Begin no further host. Raises NotFound, and Conflict when no roll-out is under way."""
    last = last_rollout(turn.state)
    if last.state is not RolloutState.RUNNING:
        raise Conflict(f"the upgrade to {last.build} is not under way: it is {last.state.value}")
    return _end(turn, last, RolloutState.CANCELLED, f"cancelled by {event.user}")


def last_rollout(state: State) -> Rollout:
    """The last roll-out. Raises NotFound when there never was one."""
    if state.rollouts.last is None:
        raise NotFound("no host was ever upgraded from here; 'coordinator host upgrade --all' upgrades all")
    return state.rollouts.last


def on_progress(turn: Turn, host: Host, progress: UpgradeProgress) -> None:
    """A host says how far it is. What it says of an earlier roll-out, and of steps behind it, is passed over."""
    known, last = turn.state.rollouts.of(host.id), turn.state.rollouts.last
    if known is None or last is None or last.number != progress.number or known.step is Step.WAITING:
        return
    # Late is better than never: one that was given up may yet say how it ended.
    if known.step not in BUSY and progress.step in BUSY:
        return
    if (known.step, known.reason) == (progress.step, progress.reason):
        return
    _step(turn, known, progress.step, progress.reason)


def advance(turn: Turn) -> None:
    """Tell the next hosts when those that were told have come to their end, or end the roll-out."""
    rollouts = turn.state.rollouts
    last = rollouts.last
    while last is not None and last.state is RolloutState.RUNNING and not rollouts.count(*BUSY):
        failed = rollouts.count(*FAILURES)
        if failed > last.max_failures:
            _end(turn, last, RolloutState.STOPPED, _too_many(turn.state, last, failed))
        elif not rollouts.count(Step.WAITING):
            _end(turn, last, RolloutState.DONE, "")
        else:
            _begin_batch(turn, last)
        last = rollouts.last


def _too_many(state: State, rollout: Rollout, failed: int) -> str:
    names = ", ".join(state.hosts[upgrade.host_id].name for upgrade in state.rollouts.at(*FAILURES))
    left = state.rollouts.count(Step.WAITING)
    allowed = f"{rollout.max_failures} may" if rollout.max_failures else "none may"
    return f"{failed} failed ({names}) and {allowed}: {left} left as they are"


def _begin_batch(turn: Turn, rollout: Rollout) -> None:
    room = rollout.batch
    for upgrade in list(turn.state.rollouts.at(Step.WAITING)):
        if not room:
            return
        room -= _begin(turn, rollout, upgrade)


def _begin(turn: Turn, rollout: Rollout, upgrade: HostUpgrade) -> bool:
    """Tell a host, or say why not; whether it is at it now."""
    host = turn.state.hosts[upgrade.host_id]
    # What it ran when its turn comes: it may have been upgraded by hand meanwhile.
    upgrade = replace(upgrade, from_build=host.build)
    if host.build == rollout.build:
        _step(turn, upgrade, Step.DONE, "runs it already")
    elif not host.build and host.agent_version == rollout.version:
        _step(turn, upgrade, Step.DONE, SAME)
    elif not host.build and host.agent_version:
        _step(turn, upgrade, Step.SKIPPED, CANNOT)
    elif host.state is not HostState.ONLINE:
        _step(turn, upgrade, Step.SKIPPED, AWAY)
    else:
        seconds = rollout.install_seconds + TRIAL_SECONDS + RETURN_SECONDS
        _step(turn, replace(upgrade, due_since=turn.at.served + seconds), Step.ORDERED, "")
        turn.record(DeadlineSet(upgrade_deadline(host.id), turn.at.mono + seconds))
        turn.effect(UpgradeWanted(host.id))
        return True
    return False


def _step(turn: Turn, upgrade: HostUpgrade, step: Step, reason: str) -> None:
    turn.record(HostUpgradeUpdated(replace(upgrade, step=step, reason=reason, changed_at=turn.at.wall)))
    _note_end(turn, upgrade, step, reason)
    if upgrade.step in BUSY and step not in BUSY:
        turn.record(DeadlineSet(upgrade_deadline(upgrade.host_id), None))
        advance(turn)


def _note_end(turn: Turn, upgrade: HostUpgrade, step: Step, reason: str) -> None:
    """For the host's owner: how an upgrade that was ordered ended."""
    last = turn.state.rollouts.last
    if last is None or upgrade.step is Step.WAITING:
        return
    host, change = turn.state.hosts[upgrade.host_id], f"{upgrade.from_build} -> {last.build}"
    if step is Step.DONE:
        host_events.note(turn, host, "upgraded", change)
    elif step in FAILURES:
        host_events.note(turn, host, step.value, f"upgrade {change}: {reason}")


def _end(turn: Turn, rollout: Rollout, state: RolloutState, reason: str) -> Rollout:
    ended = replace(rollout, state=state, reason=reason, ended_at=turn.at.wall)
    turn.record(RolloutUpdated(ended))
    return ended


def order_for(state: State, host_id: HostId) -> UpgradeOrder | None:
    """What the host is to be told now, or again; None: nothing."""
    known, last = state.rollouts.of(host_id), state.rollouts.last
    if known is None or last is None or known.step not in BUSY:
        return None
    seconds = known.due_since - state.at.served - TRIAL_SECONDS - RETURN_SECONDS
    return UpgradeOrder(last, max(1.0, seconds))


def on_due(turn: Turn, host: Host) -> None:
    """The host has not said how it ended, and its time is over."""
    known = turn.state.rollouts.of(host.id)
    if known is not None and known.step in BUSY:
        said = {Step.ORDERED: "nothing was heard of it", Step.INSTALLING: "it was installing when last heard of"}
        what = said.get(known.step, "it was restarting when last heard of")
        _step(turn, known, Step.FAILED, f"its time is over and {what}; see its agent's log")


def on_removed(turn: Turn, host_id: HostId) -> None:
    """The host was forgotten, and with it its part."""
    turn.record(DeadlineSet(upgrade_deadline(host_id), None))
    advance(turn)


def resume(turn: Turn) -> None:
    """The coordinator starts: hosts have the time that they had left."""
    for upgrade in tuple(turn.state.rollouts.at(*BUSY)):
        left = max(0.0, upgrade.due_since - turn.at.served)
        turn.record(DeadlineSet(upgrade_deadline(upgrade.host_id), turn.at.mono + left))
