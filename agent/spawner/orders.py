"""Values out of the daemon's messages, which are JSON and so of any type."""

import signal

from agent.spawner.group import Group
from agent.spawner.wire import Message


def number(value: object) -> float:
    """A number. Raises ``ValueError``."""
    if isinstance(value, int | float):
        return float(value)
    raise ValueError(f"{value!r} is not a number")


def strings(value: object) -> list[str]:
    """A list of texts."""
    return [str(item) for item in value] if isinstance(value, list) else []


def environment(value: object) -> dict[str, str]:
    """Variables and their values."""
    return {str(key): str(item) for key, item in value.items()} if isinstance(value, dict) else {}


def signal_number(name: str) -> int:
    """The number of ``TERM`` or ``SIGTERM``; of TERM if there is no such signal."""
    return int(getattr(signal, "SIG" + name.upper().removeprefix("SIG"), signal.SIGTERM))


def after_of(order: Message) -> float | None:
    """Seconds that a task may outlast contact.

    Absent where an earlier release gave the order: such a task ends with the lease.
    """
    after = order.get("after", 0.0)
    return None if after is None else number(after)


def shm_of(order: Message) -> int | None:
    """Bytes of a /dev/shm of its own; nothing: it shares the host's."""
    size = order.get("shm")
    return None if size is None else int(number(size))


def hold(group: Group | None, order: Message) -> None:
    """Hold a task that is about to be born in ``group`` to the processors and processes that its order allows."""
    if group is None:
        return
    cpus, pids = order.get("cpus"), order.get("pids")
    if cpus is not None:
        group.limit_cpu(number(cpus), order.get("hard") is True)
    if pids is not None:
        group.limit_pids(int(number(pids)))


def memory_of(order: Message) -> int | None:
    """Bytes that a task may use at most; nothing: as much as there is."""
    limit = order.get("memory")
    return None if limit is None else int(number(limit))


def undo_of(order: Message) -> Message | None:
    """What must succeed before a task is over: ``argv`` and ``env`` of a command; nothing: it needs none."""
    undo = order.get("undo")
    return undo if isinstance(undo, dict) and undo.get("argv") else None
