"""What nodes need before they can start and what takes longer than a moment: one task a node, ended with it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from agent.archive import ArchiveError
from agent.containers.model import NotReady
from agent.core.model import Cause, Probe
from agent.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.core.model import AllocationId, Desired
    from agent.users import Account
    from agent.work import Tools

log = structlog.get_logger()


def is_slow(desired: Desired) -> bool:
    """Whether a node needs more than its folder."""
    spec = desired.spec
    return bool(spec.archive or spec.cluster or spec.image or spec.python)


class Preparing:
    """Those that are under way.

    ``tell`` is called now and then with what takes long, ``prepared`` with the port that is held for a group's master
    and how its members are reached, ``failed`` with whose doing it is and the reason.
    """

    def __init__(
        self,
        tools: Tools,
        tell: Callable[[AllocationId, str], None],
        prepared: Callable[[AllocationId, int, tuple[Probe, ...]], None],
        failed: Callable[[AllocationId, Cause, str], None],
    ) -> None:
        self._tools = tools
        self._tell = tell
        self._prepared = prepared
        self._failed = failed
        self._running: dict[AllocationId, asyncio.Task[None]] = {}

    def begin(self, desired: Desired, account: Account | None) -> None:
        """Prepare a node that has its folder and is to belong to ``account``."""
        self._running[desired.id] = asyncio.create_task(self._prepare(desired, account))

    def drop(self, key: AllocationId) -> None:
        """Give it up, if it is under way and not just being told of."""
        task = self._running.pop(key, None)
        if task is not None and task is not asyncio.current_task():
            task.cancel()

    async def close(self) -> None:
        """Give up all."""
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _prepare(self, desired: Desired, account: Account | None) -> None:
        key = desired.id
        try:
            port, probes = await self._make_ready(desired, account)
        except ArchiveError as error:
            self._failed(key, Cause.START_FAILED, str(error))
        except NotReady as error:
            self._failed(key, error.cause, str(error))
        except OSError as error:
            self._failed(key, Cause.HOST, f"it could not be prepared: {said(error)}")
        except Exception as error:
            # A fault of ours: said and ended, for a node that never gets prepared holds up its job for good.
            log.exception("allocation.prepare_failed", allocation=key)
            self._failed(key, Cause.HOST, f"it could not be prepared: {type(error).__name__}: {error}")
        else:
            self._prepared(key, port, probes)
        finally:
            self._running.pop(key, None)

    async def _make_ready(self, desired: Desired, account: Account | None) -> tuple[int, tuple[Probe, ...]]:
        key, spec, tools = desired.id, desired.spec, self._tools
        port = 0
        probes: tuple[Probe, ...] = ()
        if tools.surround is not None and (spec.image or spec.python):
            async with Progress(lambda what: self._tell(key, what), tools.now) as progress:
                await tools.surround(desired, account, progress)
        if spec.cluster:  # a group of one, too, has a master and waits to be formed
            port = tools.ports.hold(key)
            probes = tuple(await tools.probe(desired.members))
        if spec.archive:
            target = tools.places.inside_of(key) if spec.image else tools.places.work_of(key)
            holder = tools.nodes.holder(desired) if spec.image else account
            await tools.archives.unpack(spec.archive, target, holder)
        return port, probes


def said(error: OSError | ValueError) -> str:
    """An error in words: the place and the reason."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)
