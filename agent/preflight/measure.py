"""Carries out orders to measure: finds the other host of a pair, or runs the program that measures GPUs."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING, TypeVar

import structlog

from agent.core.model import Measured, Measurement, PairSpeed
from agent.peer import PeerError
from agent.preflight import collectives
from agent.preflight.streams import Answering, Calling, StreamError

if TYPE_CHECKING:
    from collections.abc import Callable

    from rallypoint.tls import PeerIdentity

    from agent.core.model import AllocationId, Desired, GroupMember
    from agent.nodes import NodeMaker
    from agent.peer import Frame, PeerPort
    from agent.work import Work

log = structlog.get_logger()
T = TypeVar("T")

# Both hosts of a pair are told at once, but each by its own message: the other may be a moment behind.
ORDER_SECONDS = 5.0
# Beside the time in which both directions are measured; the coordinator waits a little longer.
PAIR_SLACK_SECONDS = 12.0


class Preflight:
    """Both ends of a pair's measurement: what is ordered here, and what peers ask for."""

    def __init__(self, peer: PeerPort, work: Work, nodes: NodeMaker) -> None:
        self._peer = peer
        self._nodes = nodes
        self._work = work
        self._answering: dict[AllocationId, Answering] = {}

    async def measure(self, desired: Desired) -> Measured:
        """Carry out the order of ``desired``; what was found, or why nothing was."""
        order = desired.measures
        assert order is not None
        if order.peer is None:
            return await self._together(desired, order)
        limit = 2 * order.seconds + PAIR_SLACK_SECONDS
        try:
            async with asyncio.timeout(limit):
                speed = await self._call(desired, order, order.peer)
        except TimeoutError:
            return Measured(order.number, f"timed out after {limit:g} s")
        except (PeerError, StreamError) as error:
            return Measured(order.number, str(error))
        return Measured(order.number, pair=speed)

    async def _together(self, desired: Desired, order: Measurement) -> Measured:
        if order.group is None:
            return Measured(order.number, "this agent can't measure that", unable=True)
        try:
            ordered = collectives.order(self._nodes, desired, order, order.group)
        except (OSError, ValueError) as error:
            return Measured(order.number, f"its files could not be laid ready: {error}")
        log.info("preflight.collectives", allocation=desired.id, number=order.number)
        return collectives.outcome(order.number, desired, await self._work.check(desired, ordered))

    async def _call(self, desired: Desired, order: Measurement, peer: GroupMember) -> PairSpeed:
        frame = {"op": "measure", "job": desired.job_id, "attempt": desired.attempt, "number": order.number}
        answer = await self._peer.ask(peer.host_id, peer.address, peer.peer_port, frame)
        if not answer.get("port"):
            raise PeerError(str(answer.get("reason") or "its agent does not know how to measure"))
        calling = Calling(peer.address, int(answer["port"]), bytes.fromhex(answer["secret"]), order.seconds)
        log.info("preflight.pair", allocation=desired.id, peer=peer.host_name, number=order.number)
        return await _in_thread(calling.measure, calling.end)

    async def answer(self, caller: PeerIdentity, frame: Frame) -> Frame:
        """Open a port for the host that this one is to measure with now, and for no other."""

        def found() -> Desired | None:
            return self._waited_for(caller, frame)

        desired = await self._work.until(found, ORDER_SECONDS)
        order = desired.measures if desired is not None else None
        if desired is None or order is None:
            log.warning("preflight.refused", caller=caller.host_id, job=str(frame.get("job"))[:80])
            return {"reason": f"host {self._peer.identity.host_id} was not told to measure with this one"}
        for key in [key for key in self._answering if key == desired.id or key not in self._work.desired]:
            self._answering.pop(key).end()
        try:
            answering = self._answering[desired.id] = Answering(order.address, order.seconds)
        except OSError as error:
            return {"reason": f"it can't listen on {order.address}: {error.strerror or error}"}
        threading.Thread(target=answering.serve, name="preflight", daemon=True).start()
        return {"port": answering.port, "secret": answering.secret.hex()}

    def _waited_for(self, caller: PeerIdentity, frame: Frame) -> Desired | None:
        for desired in self._work.desired.values():
            order = desired.measures
            if order is None or order.peer is None or order.calls or order.peer.host_id != caller.host_id:
                continue
            asked = (frame.get("job"), frame.get("attempt"), frame.get("number"))
            if asked == (desired.job_id, desired.attempt, order.number):
                return desired
        return None


async def _in_thread(work: Callable[[], T], end: Callable[[], None]) -> T:
    """The result of what blocks; ``end`` is called when nobody waits for it any more."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: Exception | None) -> None:
        if done.done():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(result)  # type: ignore[arg-type]

    def run() -> None:
        result, failure = None, None
        try:
            result = work()
        except Exception as error:
            failure = error
        with contextlib.suppress(RuntimeError):  # The agent has ended meanwhile.
            loop.call_soon_threadsafe(settle, result, failure)

    threading.Thread(target=run, name="preflight", daemon=True).start()
    try:
        return await done
    finally:
        end()
