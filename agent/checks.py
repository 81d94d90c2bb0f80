"""Programs that the agent runs in a node's place before the node itself: known to the spawner, and to nobody else."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent.core.model import AllocationId

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.places import Places
    from agent.spawner.wire import Message


@dataclass(frozen=True, slots=True)
class Ended:
    """How one ended: ``code`` is None when it did not begin, or nobody knows; its output, from the end."""

    code: int | None
    reason: str
    output: str


# So much of the output is read.
OUTPUT_BYTES = 64 * 1024
LOST = "the agent's spawner was restarted"


class Checks:
    """Those that are under way. ``send`` gives the spawner an order."""

    def __init__(self, send: Callable[[Message], None], places: Places) -> None:
        self._send = send
        self._places = places
        self._running: dict[str, asyncio.Future[Ended]] = {}

    def __contains__(self, key: object) -> bool:
        return key in self._running

    async def run(self, order: Message) -> Ended:
        """Carry out the spawner's order and wait for the end; who does not wait for it has it killed."""
        key = str(order["id"])
        done: asyncio.Future[Ended] = asyncio.get_running_loop().create_future()
        self._running[key] = done
        self._send(order)
        try:
            return await done
        except asyncio.CancelledError:
            self._send({"op": "stop", "id": key, "signal": "KILL", "grace": 0.0, "cause": "stopped", "reason": ""})
            raise

    def heard(self, message: Message) -> None:
        """The spawner says something of one of them."""
        if message["ev"] == "exited":
            code = message.get("code")
            self._over(str(message["id"]), code if isinstance(code, int) else None, str(message.get("reason") or ""))
            self._send({"op": "forget", "id": message["id"]})

    def lost(self) -> None:
        """A new spawner: what it still has of them is none of theirs."""
        for key in list(self._running):
            self._over(key, None, LOST)

    def _over(self, key: str, code: int | None, reason: str) -> None:
        done = self._running.pop(key)
        if not done.done():
            done.set_result(Ended(code, reason, self._output(key)))
        self._places.drop_log(AllocationId(key))

    def _output(self, key: str) -> str:
        try:
            with open(self._places.log_of(AllocationId(key)), "rb") as file:
                file.seek(max(0, file.seek(0, 2) - OUTPUT_BYTES))
                return file.read().decode(errors="replace")
        except OSError:
            return ""
