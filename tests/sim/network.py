"""Links between hosts and the coordinator: delays, losses, repeats, and cuts in one direction or both."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from tests.sim.clock import Clock, Process, Timer

# A link that holds a message back tries again so often, as TCP does.
RETRANSMIT = 0.5


@dataclass(slots=True)
class Link:
    """One host's way to the coordinator (``up``) and back (``down``). ``loss`` and ``repeat`` are probabilities."""

    delay: float = 0.002
    jitter: float = 0.002
    loss: float = 0.0
    repeat: float = 0.0
    up_cut: bool = False
    down_cut: bool = False

    def mend(self) -> None:
        """As good as new."""
        self.delay, self.jitter, self.loss, self.repeat, self.up_cut, self.down_cut = (
            0.002,
            0.002,
            0.0,
            0.0,
            False,
            False,
        )


class Network:
    """Carries messages. Those of one link overtake each other as their delays fall."""

    def __init__(self, clock: Clock, random: Random) -> None:
        self.clock = clock
        self._random = random

    def delay(self, link: Link) -> float:
        """What one message takes."""
        return link.delay + link.jitter * self._random.random()

    def up(self, link: Link, call: Callable[..., object], *args: Any) -> None:
        """A call to the coordinator: lost, late, or there twice."""
        self._carry(link, link.up_cut, None, call, args)

    def down(self, link: Link, owner: Process, call: Callable[..., object], *args: Any) -> None:
        """An answer to ``owner``."""
        self._carry(link, link.down_cut, owner, call, args)

    def _carry(
        self, link: Link, cut: bool, owner: Process | None, call: Callable[..., object], args: tuple[Any, ...]
    ) -> None:
        if cut or (link.loss and self._random.random() < link.loss):
            return
        self.clock.after(self.delay(link), owner, call, *args)
        if link.repeat and self._random.random() < link.repeat:
            self.clock.after(self.delay(link) + self._random.random() * 8.0, owner, call, *args)


class Stream:
    """What the coordinator sends down one session: in order, complete up to where it breaks."""

    def __init__(self, network: Network, link: Link, reader: Process, take: Callable[[Any], None]) -> None:
        self._network = network
        self._link = link
        self._reader = reader
        self._take = take
        self._queue: deque[Any] = deque()
        self._pumping = False
        self.closed = False
        # The process that writes; None until the call has reached one.
        self.server: object | None = None

    def send(self, message: Any) -> None:
        """Put a message on its way."""
        if self.closed:
            return
        self._queue.append(message)
        if not self._pumping:
            self._pumping = True
            self._network.clock.after(self._network.delay(self._link), None, self._pump)

    def close(self) -> None:
        """The reader is gone: nothing arrives any more."""
        self.closed = True
        self._queue.clear()

    def _pump(self) -> None:
        if self.closed or not self._reader.alive:
            return
        if self._link.down_cut:
            self._network.clock.after(RETRANSMIT, None, self._pump)
            return
        self._pumping = False
        messages = list(self._queue)
        self._queue.clear()
        for message in messages:
            self._network.clock.after(0.0, self._reader, self._take, message)


@dataclass(slots=True, eq=False)
class Contact:
    """One session, from the call that opens it to its first failure. ``call`` is the report under way."""

    stream: Stream
    sent_at: float
    epoch: int = 0
    opened: bool = False
    over: bool = False
    call: object | None = None
    heartbeat: Timer | None = None
    limit: Timer | None = None
