"""Starting tasks as another user, by a plain `posix_spawn` like any other.

A real fork, whose child could change users by itself, doubles what a start costs; a program that changes users and
executes the task trebles it. So the spawner changes its own ids, spawns, and changes back: six system calls. It keeps
its saved user id, so that it can; the child loses that with the execution, and all rights with it. Meanwhile processes
of that user may send this one signals, and that is all they may: a stop is undone by the reaper, a kill leaves what any
death of the spawner leaves. Its memory, descriptors and limits are closed to them all the while.
"""

import contextlib
import ctypes
import os
from collections.abc import Iterator

from agent.spawner.wire import Message

_PR_SET_NO_NEW_PRIVS = 38
_PR_CAP_AMBIENT = 47
_CLEAR_ALL = 4


class User:
    """Whom a task runs as: numbers, for names are the daemon's business."""

    __slots__ = ("gid", "groups", "uid")

    def __init__(self, uid: int, gid: int, groups: "list[int]") -> None:
        self.uid = uid
        self.gid = gid
        self.groups = groups


def user_of(order: Message) -> "User | None":
    """Whom an order wants its task to run as; nothing: as the spawner."""
    wanted = order.get("as")
    if not isinstance(wanted, list):
        return None
    uid, gid, groups = wanted
    return User(int(uid), int(gid), [int(group) for group in groups])


_given_up = False


def _give_up_privileges() -> None:
    """Once, and for this process's life: no child gets any right by a set-uid program or by inheriting ours."""
    global _given_up
    if not _given_up:
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        # Of an agent that is not root: what it holds would be its children's, whoever they are.
        libc.prctl(_PR_CAP_AMBIENT, _CLEAR_ALL, 0, 0, 0)
        _given_up = True


@contextlib.contextmanager
def acting_as(user: "User | None") -> Iterator[None]:
    """Within this, children are the user's, and so are looks at the file system. Raises ``OSError``."""
    if user is None:
        yield
        return
    _give_up_privileges()
    own, own_group, own_groups = os.geteuid(), os.getegid(), os.getgroups()
    os.setgroups(user.groups)
    try:
        os.setresgid(user.gid, user.gid, own_group)
        try:
            os.setresuid(user.uid, user.uid, own)
            try:
                yield
            finally:
                os.setresuid(own, own, own)
        finally:
            os.setresgid(own_group, own_group, own_group)
    finally:
        os.setgroups(own_groups)
