"""Upgrades of hosts, for HostService: as messages, and as a stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from rallypoint.v1 import host_service_pb2 as pb
from rallypoint.v1 import types_pb2

from coordinator.core.errors import Invalid
from coordinator.core.events import UpgradeRequested
from coordinator.core.rollout import BUSY, HostUpgrade, RolloutState, Step
from coordinator.core.state import State
from coordinator.core.upgrades import last_rollout
from coordinator.engine import Engine
from coordinator.own_wheel import OwnWheel

# A day: what takes longer is not under way any more.
MAX_SECONDS = 86400.0
DEFAULT_SECONDS = 600.0
DEFAULT_PERCENT = 10.0
# So long changes are gathered before a watcher is told.
WATCH_SECONDS = 0.2

_STATE = {
    RolloutState.RUNNING: types_pb2.UPGRADE_STATE_RUNNING,
    RolloutState.DONE: types_pb2.UPGRADE_STATE_DONE,
    RolloutState.STOPPED: types_pb2.UPGRADE_STATE_STOPPED,
    RolloutState.CANCELLED: types_pb2.UPGRADE_STATE_CANCELLED,
}
_STEP = {
    Step.WAITING: types_pb2.UPGRADE_STEP_WAITING,
    Step.ORDERED: types_pb2.UPGRADE_STEP_ORDERED,
    Step.INSTALLING: types_pb2.UPGRADE_STEP_INSTALLING,
    Step.RESTARTING: types_pb2.UPGRADE_STEP_RESTARTING,
    Step.DONE: types_pb2.UPGRADE_STEP_DONE,
    Step.ROLLED_BACK: types_pb2.UPGRADE_STEP_ROLLED_BACK,
    Step.FAILED: types_pb2.UPGRADE_STEP_FAILED,
    Step.SKIPPED: types_pb2.UPGRADE_STEP_SKIPPED,
}


def requested(request: pb.StartUpgradeRequest, wheel: OwnWheel, user: str) -> UpgradeRequested:
    """What a request asks for. Raises Invalid."""
    seconds = request.install_seconds or DEFAULT_SECONDS
    percent = request.batch_percent or DEFAULT_PERCENT
    if not 1.0 <= seconds <= MAX_SECONDS:
        raise Invalid(f"a host may have 1 to {MAX_SECONDS:.0f} seconds to install a release, not {seconds:g}")
    if not 0.0 < percent <= 100.0:
        raise Invalid(f"a batch is a number of hosts or a part of them up to 100%, not {percent:g}%")
    return UpgradeRequested(
        release=wheel.release,
        user=user,
        hosts=tuple(request.hosts),
        everything=request.all,
        batch=request.batch,
        percent=percent,
        max_failures=request.max_failures,
        install_seconds=seconds,
    )


def last_upgrade(state: State) -> types_pb2.Upgrade:
    """The last roll-out with its hosts. Raises NotFound when there never was one."""
    rollout = last_rollout(state)
    return types_pb2.Upgrade(
        number=rollout.number,
        version=rollout.version,
        build=rollout.build,
        state=_STATE[rollout.state],
        reason=rollout.reason,
        user=rollout.user,
        batch=rollout.batch,
        max_failures=rollout.max_failures,
        started_at=rollout.started_at,
        ended_at=rollout.ended_at,
        hosts=[_host(state, upgrade) for upgrade in state.rollouts.all()],
    )


def _host(state: State, upgrade: HostUpgrade) -> types_pb2.HostUpgrade:
    return types_pb2.HostUpgrade(
        host_id=upgrade.host_id,
        host_name=state.hosts[upgrade.host_id].name,
        step=_STEP[upgrade.step],
        reason=upgrade.reason,
        from_build=upgrade.from_build,
        changed_at=upgrade.changed_at,
    )


def _is_over(state: State) -> bool:
    return last_rollout(state).state is not RolloutState.RUNNING and not state.rollouts.count(*BUSY)


async def watch(engine: Engine) -> AsyncIterator[types_pb2.Upgrade]:
    """The last roll-out now and after every change of it, until no host is at it any more. Raises NotFound."""
    told: types_pb2.Upgrade | None = None
    while True:
        upgrade, over, version = await engine.read(lambda state: (last_upgrade(state), _is_over(state), state.version))
        if upgrade != told:
            told = upgrade
            yield upgrade
        if over:
            return
        await engine.next_version(version)
        await asyncio.sleep(WATCH_SECONDS)
