"""The first thing that a coordinator does in a data directory that was restored from a backup."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import structlog

from coordinator.backup import Mark
from coordinator.core.events import BackupRestored
from coordinator.core.ids import JobId, allocation_id
from coordinator.core.state import State
from coordinator.engine import Engine
from coordinator.logstore import LogStore

log = structlog.get_logger(__name__)


async def settle(mark: Mark, data_dir: Path, engine: Engine, logs: LogStore, hold: float) -> None:
    """Make the state one to go on from, before anybody is answered. Raises EngineFailed.

    The mark stays for the ``hold`` seconds in which nothing is placed: a start in between holds again.
    """
    age = max(0.0, time.time() - mark.created_at)
    ended = await engine.read(_ended)
    short = await asyncio.to_thread(_short, ended, logs)
    await engine.post(BackupRestored(age, short))
    log.warning("coordinator.restored", age_seconds=round(age), outputs_cut=len(short), places_after_seconds=hold)
    asyncio.get_running_loop().call_later(hold, Mark.clear, data_dir)


_Output = tuple[JobId, int, int, int]


def _ended(state: State) -> list[_Output]:
    """Ended nodes that wrote something: job, rank, attempt and how much."""
    return [
        (job_id, node.rank, node.attempt, node.log_bytes)
        for job_id, nodes in state.nodes.items()
        for node in nodes.values()
        if node.log_bytes and node.state.ended
    ]


def _short(ended: list[_Output], logs: LogStore) -> tuple[tuple[JobId, int, int], ...]:
    sizes = [(job, rank, wrote, logs.size(allocation_id(job, rank, attempt))) for job, rank, attempt, wrote in ended]
    return tuple((job, rank, size) for job, rank, wrote, size in sizes if size < wrote)
