"""Whom nodes run as: accounts of this host, what its owner allows, and whether this process may change users at all."""

from __future__ import annotations

import grp
import os
import pwd
import stat
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING

from agent.devices import device_groups, rights

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

# The account that the installer makes for nodes; without it the one that every system has for what owns nothing.
TASK_USER = "rallypoint-task"
NOBODY = "nobody"
ANY_USER = "*"

# What it takes: to change users and groups, to give directories away, to look after them, and to end what runs there.
_NEEDED = {0: "CAP_CHOWN", 1: "CAP_DAC_OVERRIDE", 5: "CAP_KILL", 6: "CAP_SETGID", 7: "CAP_SETUID"}
# Whoever is in one of these is root within a command or two: not to be handed on with an account.
_ROOT_LIKE = frozenset({"docker", "podman", "lxd", "incus", "incus-admin", "libvirt", "disk", "shadow", "kmem"})
_NO_LOGIN = ("nologin", "false", "sync", "halt", "shutdown")


class UserRefused(Exception):
    """A node may not run as the user that its job asks for: the message is the reason, for the job's user."""


class UserUnusable(Exception):
    """A setting names a user that nodes can't run as: the message names the setting, the reason and the way out."""


@dataclass(frozen=True, slots=True)
class Account:
    """Whom a process runs as. ``home`` is empty unless it is a directory of the account's own."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...] = ()
    home: str = ""
    shell: str = "/bin/sh"

    def order(self) -> list[object]:
        """As the spawner takes it."""
        return [self.uid, self.gid, list(self.groups)]


@dataclass(frozen=True, slots=True)
class UserPolicy:
    """What the coordinator is told; the fields are those of the protocol."""

    default: str
    allowed: tuple[str, ...]
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Users:
    """``own`` is whom the agent runs as, ``task`` whom nodes run as unless their job says; ``allowed`` what else it may
    say. ``reason``: why none but ``own`` is possible; empty: others are.
    """

    own: Account
    task: Account
    allowed: tuple[str, ...] = ()
    reason: str = ""

    def changes(self) -> bool:
        """Whether any node may run as somebody else than the agent."""
        return not self.reason and (self.task.uid != self.own.uid or bool(self.allowed))

    def others(self) -> Account | None:
        """Whom most nodes run as, if that is not the agent's own user."""
        return self.task if self.changes() and self.task.uid != self.own.uid else None

    def account(self, user: str) -> Account | None:
        """Whom a node runs whose job says ``user`` (empty: nothing); None: whom the agent runs as.

        Raises:
            UserRefused: it may not, or there is no such user or group here.
        """
        if self.reason:
            if user and user.partition(":")[0] not in _names(self.own):
                raise UserRefused(f"nodes can't run as {user!r} here: {self.reason}")
            return None
        wanted = self._wanted(user) if user else self.task
        return None if (wanted.uid, wanted.gid) == (self.own.uid, self.own.gid) else wanted

    def _wanted(self, user: str) -> Account:
        name, _, group = user.partition(":")
        found = _looked_up(name)
        if found is None:
            raise UserRefused(f"user {name!r} does not exist on this host; name another, or a user id")
        if not self._may_be(found):
            raise UserRefused(f"nodes may not run as {name!r} here: name it in allow_users of the host's agent.toml")
        return found if not group else replace(found, gid=_group_of(found, group))

    def _may_be(self, account: Account) -> bool:
        known = {self.task.name, str(self.task.uid), *self.allowed}
        return account.name in known or str(account.uid) in known or (ANY_USER in known and account.uid != 0)

    def policy(self) -> UserPolicy:
        """What the coordinator is told."""
        if self.reason:
            return UserPolicy(self.own.name, _names(self.own), self.reason)
        found = [*_names(self.task)]
        for name in self.allowed:
            account = None if name == ANY_USER else _looked_up(name)
            found += [name] if account is None else _names(account)
        return UserPolicy(self.task.name, tuple(dict.fromkeys(found)))


SPAWNER_TOO_OLD = "nodes that were started by an earlier release still run, and their parent can't change users"


@dataclass(slots=True)
class HostUsers:
    """``known``, as far as the spawner that runs can make it true."""

    known: Users
    spawner_can: bool = True

    def account(self, user: str) -> Account | None:
        """As ``Users.account``. Raises UserRefused."""
        return self._possible().account(user)

    def policy(self) -> UserPolicy:
        """What the coordinator is told."""
        return self._possible().policy()

    def _possible(self) -> Users:
        if self.spawner_can or not self.known.changes():
            return self.known
        return Users(self.known.own, self.known.own, (), SPAWNER_TOO_OLD)


def check_passable(users: Users, paths: Iterable[Path]) -> None:
    """Raise UserUnusable if whom nodes run as can't get to ``paths``."""
    account = users.others()
    folder = closed_to(account, paths) if account is not None else ""
    if account is not None and folder:
        raise UserUnusable(f"nodes are to run as {account.name!r}, to whom {folder} is closed: {way_in(folder)}")


def way_in(folder: str) -> str:
    """What to do about a directory that is closed to whom nodes run as."""
    return (
        "give --state-dir (or --work-dir) one that it can pass, like /var/lib/rallypoint/agent, or let it pass by"
        f" 'chmod o+x {folder}'"
    )


def only_own() -> Users:
    """Nodes run as whom the agent runs as, whatever it might do."""
    own = _looked_up(str(os.geteuid()))
    own = own or Account(str(os.geteuid()), os.geteuid(), os.getegid())
    return Users(own, own)


def users_of(task_user: str, allow_users: tuple[str, ...]) -> Users:
    """What the settings and this process's rights come to; an empty ``task_user`` is the host's choice.

    Raises:
        UserUnusable: they ask for what is not to be had.
    """
    own = replace(only_own().own, gid=os.getegid())
    hindered = hindrance()
    if hindered:
        if task_user not in ("", own.name, str(own.uid)):
            way_out = "run it as root, or leave task_user out"
            raise UserUnusable(f"task_user {task_user!r}: this agent may not change users ({hindered}); {way_out}")
        return Users(own, own, (), f"its agent runs as {own.name!r}, which may not change users ({hindered})")
    names = [task_user] if task_user else [TASK_USER, NOBODY]
    task = next((account for account in map(_looked_up, names) if account is not None), None)
    if task is None:
        raise UserUnusable(f"task_user {names[0]!r}: there is no such user; make one: useradd --system {names[0]}")
    if task.uid == own.uid:
        task = own
    elif not _is_mapped(task.uid):
        raise UserUnusable(f"task_user {task.name!r}: this container has no user id {task.uid}; name one that it has")
    return Users(own, task, allow_users)


def hindrance() -> str:
    """Why this process can't run others as another user; empty: it can."""
    held = _capabilities()
    lacking = [name for bit, name in _NEEDED.items() if not held >> bit & 1]
    if lacking:
        return "no root, no capabilities" if len(lacking) == len(_NEEDED) else f"lacks {', '.join(lacking)}"
    if _read("/proc/self/setgroups").strip() == "deny":
        return "its user namespace denies setgroups"
    return ""


def closed_to(account: Account, paths: Iterable[Path]) -> str:
    """The first directory on the way to ``paths`` that the account can't pass; empty: there is none.

    By the modes alone: access lists may let more through, and are not asked.
    """
    for path in paths:
        for folder in (*reversed(path.parents), path):
            if not rights(account, os.stat(folder)) & 0o1:
                return str(folder)
    return ""


def _names(account: Account) -> tuple[str, ...]:
    return (account.name, str(account.uid)) if account.name != str(account.uid) else (account.name,)


def _looked_up(user: str) -> Account | None:
    """The account of a name or user id; an id may have none. What is not there now is looked for again: it is made
    when someone misses it, and a directory server may just have been away."""
    try:
        return _found(user)
    except KeyError:
        # Never root's group, which `docker run --user 1000` would give it.
        return Account(user, int(user), int(user), device_groups()) if user.isdigit() and int(user) else None


@cache
def _found(user: str) -> Account:
    """What is found once holds as long as the agent runs. Raises KeyError."""
    entry = pwd.getpwuid(int(user)) if user.isdigit() else pwd.getpwnam(user)
    member_of = os.getgrouplist(entry.pw_name, entry.pw_gid)
    groups = {gid for gid in member_of if gid == entry.pw_gid or _group_name(gid) not in _ROOT_LIKE}
    return Account(
        entry.pw_name,
        entry.pw_uid,
        entry.pw_gid,
        tuple(sorted(groups | set(device_groups()))),
        entry.pw_dir if _is_home(entry.pw_dir, entry.pw_uid) else "",
        entry.pw_shell if entry.pw_shell and os.path.basename(entry.pw_shell) not in _NO_LOGIN else "/bin/sh",
    )


def _group_of(account: Account, group: str) -> int:
    try:
        gid = int(group) if group.isdigit() else grp.getgrnam(group).gr_gid
    except KeyError:
        raise UserRefused(f"group {group!r} does not exist on this host; name another") from None
    if gid != account.gid and gid not in account.groups:
        raise UserRefused(f"user {account.name!r} is not in group {group!r} on this host; name one that it is in")
    return gid


def _group_name(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return ""


def _is_home(path: str, uid: int) -> bool:
    try:
        about = os.stat(path)
    except OSError:
        return False
    return stat.S_ISDIR(about.st_mode) and about.st_uid == uid


def _is_mapped(uid: int) -> bool:
    """Whether this user namespace has the user id: most have all, a container's may have a few."""
    ranges = [line.split() for line in _read("/proc/self/uid_map").splitlines()]
    return not ranges or any(int(first) <= uid < int(first) + int(count) for first, _, count in ranges)


def _capabilities() -> int:
    for line in _read("/proc/self/status").splitlines():
        if line.startswith("CapEff:"):
            return int(line.split()[1], 16)
    return 0


def _read(path: str) -> str:
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return ""
