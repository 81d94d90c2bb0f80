"""Virtual time: one heap of events, processes that own them, and an asyncio loop on top for the code that needs one."""

from __future__ import annotations

import asyncio
import heapq
from asyncio import events
from collections.abc import Callable
from typing import Any, cast


class Process:
    """Something that can be killed or frozen. What a dead one had planned never happens.

    ``rate``: how many seconds pass on its machine's clock in one true second.
    """

    __slots__ = ("alive", "frozen_until", "loop", "name", "rate")

    def __init__(self, name: str, clock: Clock | None = None, rate: float = 1.0) -> None:
        self.name = name
        self.rate = rate
        self.alive = True
        self.frozen_until = 0.0
        self.loop = None if clock is None else SimLoop(clock, self)

    def kill(self) -> None:
        """End it: no event of it is dispatched any more."""
        self.alive = False
        if self.loop is not None:
            self.loop.close()


class Timer:
    """One planned event."""

    __slots__ = ("args", "call", "owner", "when")

    def __init__(self, when: float, owner: Process | None, call: Callable[..., object], args: tuple[Any, ...]) -> None:
        self.when = when
        self.owner = owner
        self.call: Callable[..., object] | None = call
        self.args = args

    def cancel(self) -> None:
        """It shall not happen."""
        self.call = None

    def cancelled(self) -> bool:
        """Whether it was cancelled."""
        return self.call is None


class Clock:
    """The heap of events. ``now`` in seconds; events of one moment happen in the order in which they were planned."""

    def __init__(self) -> None:
        self.now = 0.0
        self._heap: list[tuple[float, int, Timer]] = []
        self._planned = 0

    def after(self, seconds: float, owner: Process | None, call: Callable[..., object], *args: Any) -> Timer:
        """Plan ``call`` for ``owner``, so long after now by its own clock; None owns what no death prevents."""
        self._planned += 1
        timer = Timer(self.now + (seconds if owner is None else seconds / owner.rate), owner, call, args)
        heapq.heappush(self._heap, (timer.when, self._planned, timer))
        return timer

    def run(self, until: float, done: Callable[[], bool] | None = None) -> bool:
        """Dispatch events up to ``until``, or until ``done`` says so, which is asked once a virtual second."""
        heap, look_at = self._heap, self.now
        try:
            while heap and heap[0][0] <= until:
                when, _, timer = heapq.heappop(heap)
                call, owner = timer.call, timer.owner
                if call is None or (owner is not None and not owner.alive):
                    continue
                if owner is not None and owner.frozen_until > when:
                    self._planned += 1
                    heapq.heappush(heap, (owner.frozen_until, self._planned, timer))
                    continue
                self.now = when
                events._set_running_loop(None if owner is None else cast(Any, owner.loop))
                call(*timer.args)
                if done is not None and when >= look_at:
                    look_at = when + 1.0
                    if done():
                        return True
        finally:
            events._set_running_loop(None)
        self.now = max(self.now, until)
        return False


class SimLoop:
    """The part of an event loop that futures, tasks and timers need, on the virtual clock of one process."""

    def __init__(self, clock: Clock, owner: Process) -> None:
        self._clock = clock
        self._owner = owner
        self.tasks: set[asyncio.Task[Any]] = set()

    def time(self) -> float:
        """Seconds on the machine's clock."""
        return self._clock.now * self._owner.rate

    def call_soon(self, callback: Callable[..., object], *args: Any, context: object = None) -> Any:
        """At this moment, after what is planned for it already."""
        return self._clock.after(0.0, self._owner, callback, *args)

    def call_later(self, delay: float, callback: Callable[..., object], *args: Any, context: object = None) -> Any:
        """After ``delay`` virtual seconds."""
        return self._clock.after(max(0.0, delay), self._owner, callback, *args)

    def call_at(self, when: float, callback: Callable[..., object], *args: Any, context: object = None) -> Any:
        """At ``when`` by ``time``."""
        return self.call_later(when - self.time(), callback, *args)

    def run_in_executor(self, executor: object, work: Callable[[], Any]) -> asyncio.Future[Any]:
        """At once: what a thread does takes no time."""
        done = self.create_future()
        try:
            done.set_result(work())
        except Exception as error:
            done.set_exception(error)
        return done

    def create_future(self) -> asyncio.Future[Any]:
        """A future of this loop."""
        return asyncio.Future(loop=cast(Any, self))

    def create_task(self, coro: Any, *, name: str | None = None, context: object = None) -> asyncio.Task[Any]:
        """A task of this loop."""
        task: asyncio.Task[Any] = asyncio.Task(coro, loop=cast(Any, self), name=name or "sim")
        # A task of a killed process must vanish without a word, not complain when it is collected.
        task._log_destroy_pending = False  # type: ignore[attr-defined]
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    def close(self) -> None:
        """What its tasks were about to do is not done."""
        for task in self.tasks:
            coro = task.get_coro()
            if coro is not None:
                coro.close()
        self.tasks.clear()

    def get_debug(self) -> bool:
        """Never."""
        return False

    def is_running(self) -> bool:
        """While anything looks."""
        return True

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """A task failed and nobody asked: the history is broken."""
        error = context.get("exception")
        raise AssertionError(f"{self._owner.name}: {context.get('message')}") from (
            error if isinstance(error, BaseException) else None
        )
