"""A /dev/shm of its own, of a given size, for a task: a tmpfs in a mount namespace that it is born into."""

import contextlib
import ctypes
import fcntl
import os
from collections.abc import Iterator

from agent.spawner.user import User, acting_as

_CLONE_NEWNS = 0x20000
_MS_NOSUID, _MS_NODEV, _MS_REC, _MS_SLAVE = 2, 4, 1 << 14, 1 << 19
# ioctl_ns(2): the user namespace that owns another one.
_NS_GET_USERNS = 0xB701
PLACE = b"/dev/shm"


def hindrance() -> str:
    """Why tasks can't have one here; empty: they can. Tried in a child, for which all is over with its end."""
    child = os.fork()
    if not child:
        code = 255
        try:
            _enter_new(1 << 20)
            code = 0
        except OSError as error:
            code = min(254, error.errno or 254)
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return (
        "" if code == 0 else f"its agent may not mount a tmpfs ({os.strerror(code)}); nodes share the host's /dev/shm"
    )


@contextlib.contextmanager
def around(size: int | None, member: int | None = None, user: "User | None" = None) -> Iterator[None]:
    """Within this, children have a /dev/shm of ``size`` bytes of their own, or that of the process ``member``, which is
    ``user``'s.

    Without a size all is as it is. Raises OSError.
    """
    if size is None:
        yield
        return
    own = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if member is None:
            _enter_new(size)
        else:
            _enter_of(member, user)
        yield
    finally:
        try:
            _checked(_libc().setns(own, _CLONE_NEWNS))
        finally:
            os.close(own)


def _enter_of(pid: int, user: "User | None") -> None:
    theirs = _namespace_of(pid, user)
    try:
        if not _is_ours(theirs):
            raise OSError(0, "its node is in a mount namespace of its own making")
        _checked(_libc().setns(theirs, _CLONE_NEWNS))
    finally:
        os.close(theirs)


def _namespace_of(pid: int, user: "User | None") -> int:
    path, how = f"/proc/{pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC
    try:
        return os.open(path, how)
    except PermissionError:
        # It takes CAP_SYS_PTRACE to look at what is another's; its user may.
        with acting_as(user):
            return os.open(path, how)


def _is_ours(namespace: int) -> bool:
    """Whether only those with our rights can have mounted anything there.

    A node may leave the one that it was born into for one that it owns, where every path leads wherever it likes.
    """
    owner = fcntl.ioctl(namespace, _NS_GET_USERNS)
    try:
        return os.path.samestat(os.fstat(owner), os.stat("/proc/self/ns/user"))
    finally:
        os.close(owner)


def _enter_new(size: int) -> None:
    libc = _libc()
    _checked(libc.unshare(_CLONE_NEWNS))
    # What the host mounts later is seen, what is mounted here is not the host's.
    _checked(libc.mount(b"none", b"/", None, _MS_REC | _MS_SLAVE, None))
    _checked(libc.mount(b"shm", PLACE, b"tmpfs", _MS_NOSUID | _MS_NODEV, f"size={size},mode=1777".encode()))


def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mount.argtypes = (ctypes.c_char_p,) * 3 + (ctypes.c_ulong, ctypes.c_char_p)
    return libc


def _checked(result: int) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
