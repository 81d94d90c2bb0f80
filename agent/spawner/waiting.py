"""Orders to spawn that were not carried out yet; some wait behind a task that has to be over first."""

from collections import deque

from agent.spawner.wire import Message

TOO_LONG = "what runs before it took longer than was thought"
NOT_WELL = "what ran before it did not end well"
NOT_FREE = "something else waits there already"


class Waiting:
    """The orders, each carried out once, given back, or dropped. ``returned`` collects what is given back, and why."""

    __slots__ = ("_behind", "_next", "_ready", "returned")

    def __init__(self) -> None:
        self._ready: deque[Message] = deque()
        # By id, with the time until which they may wait; what comes after a task, by that task.
        self._behind: dict[str, tuple[Message, float]] = {}
        self._next: dict[str, str] = {}
        self.returned: list[tuple[str, str]] = []

    def __bool__(self) -> bool:
        return bool(self._ready or self._behind)

    def has(self, task: str) -> bool:
        """Whether an order for ``task`` waits."""
        return task in self._behind or any(order["id"] == task for order in self._ready)

    def is_ready(self) -> bool:
        """Whether there is one to be carried out now."""
        return bool(self._ready)

    def put(self, order: Message) -> None:
        """To be carried out as soon as there is time."""
        self._ready.append(order)

    def put_behind(self, order: Message, before: str, until: float) -> None:
        """To be carried out when the task ``before`` is over and has ended well, or given back at ``until``."""
        task = str(order["id"])
        if before in self._next:
            # Both would have what the one before them leaves.
            self.returned.append((task, NOT_FREE))
            return
        self._behind[task] = (order, until)
        self._next[before] = task

    def take(self, most: int) -> list[Message]:
        """The next orders to carry out."""
        return [self._ready.popleft() for _ in range(min(most, len(self._ready)))]

    def take_out(self, task: str) -> Message | None:
        """The order for ``task`` if it is to be carried out now, before others."""
        for order in self._ready:
            if order["id"] == task:
                self._ready.remove(order)
                return order
        return None

    def drop(self, task: str) -> bool:
        """Forget the order for ``task``, and give back what waits behind it; false if it does not wait behind one."""
        if self._behind.pop(task, None) is None:
            return False
        self._next = {before: each for before, each in self._next.items() if each != task}
        self.over(task, False)
        return True

    def over(self, task: str, well: bool) -> None:
        """A task is over: what waits behind it is carried out, or given back if it did not end ``well``."""
        following = self._next.pop(task, None)
        while following is not None:
            order, _ = self._behind.pop(following)
            if well:
                self._ready.append(order)
                return
            self.returned.append((following, NOT_WELL))
            following = self._next.pop(following, None)

    def give_back_late(self, at: float) -> None:
        """Give back what has waited for too long, with all that waits behind it."""
        for task in [task for task, (_, until) in self._behind.items() if until <= at]:
            if self.drop(task):
                self.returned.append((task, TOO_LONG))

    def next_end(self) -> float | None:
        """When the first one has waited for too long."""
        return min((until for _, until in self._behind.values()), default=None)

    def clear(self) -> None:
        """Forget all orders: who gave them gives them again."""
        self._ready.clear()
        self._behind.clear()
        self._next.clear()
        self.returned.clear()
