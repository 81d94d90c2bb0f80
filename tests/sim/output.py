"""Output of a history's processes: what they really wrote, how the agent sends it, and what is held against it.

The agent's `core.outflow` and the coordinator's `logfiles` are the production ones; the first on simulated files, the
second on real ones in memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from agent.core.model import Phase
from agent.core.outflow import Limits, Look, Outflow, Position, Record, Send
from agent.logs import WRITTEN
from coordinator.core.ids import AllocationId
from coordinator.logfiles import Chunk, LogFiles
from tests.sim.network import Contact

if TYPE_CHECKING:
    from random import Random

    from tests.sim.agent import Agent
    from tests.sim.host import Host

# Less often than the daemon looks: a history has many looks and few bytes.
LOOK_SECONDS = 1.0
CALL_SECONDS = 20.0
# A program writes in so many pieces, in so many seconds at most.
PIECES = 4
LONGEST_SECONDS = 15.0
# Sizes of a log: none, a line, a page, and a flood by the outflow's measure.
SIZES = (0, 100, 100, 5000, 150_000)
HOST_KEEPS = (1 << 28, 1 << 28, 1 << 28, 40_000)
COORDINATOR_KEEPS = (1 << 28, 1 << 28, 60_000)
_WIDTH = 32


def text(key: str, start: int, end: int) -> bytes:
    """What a process writes between two offsets: nowhere the same, and another one in every log."""
    # Only these lines: most logs are short, and whole ones for floods took a sixth of all histories' time.
    first, behind = start // _WIDTH, -(-end // _WIDTH)
    lines = [f"{key} {i}\n".rjust(_WIDTH, ".") for i in range(first, behind)]
    return "".join(lines).encode()[start - first * _WIDTH : end - first * _WIDTH]


class Files:
    """The output files of one host: how long each is, and how much of its beginning was freed."""

    def __init__(self, random: Random) -> None:
        self.limits = Limits(keep=random.choice(HOST_KEEPS))
        self.sizes: dict[str, int] = {}
        self.freed: dict[str, int] = {}
        # What the agent keeps on disk of them.
        self.records: dict[AllocationId, Record] = {}

    def write(self, key: str, length: int) -> None:
        """A process says something more."""
        self.sizes[key] = self.sizes.get(key, 0) + length

    def read(self, send: Send) -> bytes:
        """A piece of a file; what was freed reads as zeros."""
        end = min(send.place + send.length, self.sizes.get(send.key, 0))
        zeros = max(0, min(end, self.freed.get(send.key, 0)) - send.place)
        return bytes(zeros) + text(send.key, send.place + zeros, end)

    def drop(self, key: str) -> None:
        """Nobody wants it any more."""
        self.sizes.pop(key, None)
        self.freed.pop(key, None)

    def crash(self, random: Random) -> None:
        """The machine dies: nobody synced the ends of these files."""
        for key, size in self.sizes.items():
            self.sizes[key] = random.randint(self.freed.get(key, 0), size)


class Publisher:
    """`agent.logs.LogPublisher` on a virtual clock: one call at a time, and a look at the files now and then."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._host: Host = agent.host
        self._flow = Outflow(self._host.files.limits, self._host.files.records)
        self._call: object | None = None
        self._planned = False
        self.wake()

    def wake(self) -> None:
        """Look now."""
        if not self._planned:
            self._planned = True
            self._after(0.0, self._turn)

    def cut(self) -> None:
        """The session is over, and with it the call under way."""
        if self._call is not None:
            self._fail(self._call)

    def _after(self, seconds: float, call: Any, *args: Any) -> None:
        self._host.world.clock.after(seconds, self._agent.process, call, *args)

    def _turn(self) -> None:
        self._planned = False
        files, flow, work = self._host.files, self._flow, self._agent.work
        watched = [seen for seen in work.observed.values() if seen.phase in WRITTEN and not seen.log_done]
        looks = [
            Look(seen.id, files.sizes.get(seen.id), seen.phase is Phase.ENDED, seen.log_bytes, seen.rebooted)
            for seen in watched
        ]
        frees = flow.look(looks)
        files.records = flow.records()
        for free in frees:
            files.freed[free.key] = free.end
        sends = flow.plan(self._host.now()) if self._call is None else []
        for key in flow.finished():
            self._host.world.ledger.output.published(self._host, key)
            work.log_done(key)
        chunks = [Chunk(s.key, s.offset, files.read(s), s.dropped, s.reason) for s in sends]
        self._send([chunk for chunk in chunks if chunk.data or chunk.dropped])
        if watched and not self._planned:
            self._planned = True
            self._after(LOOK_SECONDS, self._turn)

    def _send(self, chunks: list[Chunk]) -> None:
        if not chunks:
            return
        call = self._call = object()
        contact = self._agent.contact
        if contact is None or contact.over or not contact.opened:
            self._fail(call)
            return
        self._after(CALL_SECONDS, self._fail, call)
        self._host.world.call_up(self._host.link, self._deliver, chunks, call, contact)

    def _deliver(self, chunks: Sequence[Chunk], call: object, contact: Contact) -> None:
        coordinator = self._host.world.coordinator

        def answer(positions: Any) -> None:
            self._host.world.network.down(
                self._host.link, self._agent.process, self._answered, call, contact, positions
            )

        if coordinator is not None:
            coordinator.publish(self._host.id, chunks, answer)

    def _answered(self, call: object, contact: Contact, positions: list[Position] | Exception) -> None:
        if call is not self._call or contact.over:
            return
        if isinstance(positions, Exception):
            self._fail(call)
            return
        self._call = None
        for position in positions:
            if not position.unknown:
                self._host.world.ledger.output.stored(position.allocation, position.offset)
        self._flow.answered(positions, self._host.now())
        self.wake()

    def _fail(self, call: object) -> None:
        if call is self._call:
            self._call = None
            self._flow.failed(self._host.now())


def check_stored(files: LogFiles, key: str, start: int, end: int) -> int:
    """Compare what the coordinator has with what was written; bytes of it that are gaps. Raises ValueError."""
    gaps = 0
    while start < end:
        run = files.read(AllocationId(key), start, end - start)
        if run.dropped:
            gaps += min(end, run.offset) - start
        elif not run.data:
            raise ValueError(f"it ends at {start}")
        elif run.data != text(key, start, start + len(run.data)):
            raise ValueError(f"at {start} it is {run.data[:40]!r}, which was never written there")
        start = run.end
    return gaps
