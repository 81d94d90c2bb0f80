"""Whom of the host a container's users are.

Root of a container is whom the host's plain nodes run as, never the host's root: on the host's network a container is
not shut in, and another process could hand it an open directory, which only missing rights keep it from writing to.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from agent.containers.model import Runtime
    from agent.users import Account

FIRST = 0x7000_0000
"""The first of the host's ids for users of containers that are not root: of the ranges that systemd's "Users, Groups,
UIDs and GIDs on systemd Systems" lists, one that nobody else gives away."""
COUNT = 65_535
"""So many ids a container has besides root's."""


@dataclass(frozen=True, slots=True)
class Identity:
    """``uid``, ``gid`` and ``groups`` are the host's. ``mapped``: they are those of the container's root, whose other
    users are ids that nobody has; else all that is in the container runs as them.
    """

    uid: int
    gid: int
    groups: tuple[int, ...]
    mapped: bool

    def options(self) -> list[str]:
        """How a runtime is told."""
        added = [word for group in self._groups() for word in ("--group-add", str(group))]
        if not self.mapped:
            # A daemon that maps users by itself would make others of these.
            return ["--userns", "host", "--user", f"{self.uid}:{self.gid}", *added]
        uids = [word for piece in _pieces(self.uid, ()) for word in ("--uidmap", piece)]
        gids = [word for piece in _pieces(self.gid, self._groups()) for word in ("--gidmap", piece)]
        return [*uids, *gids, *added]

    def on_host(self, inside: int) -> int:
        """The host's id of a container's user."""
        return self.uid if inside == 0 or not self.mapped else FIRST + inside - 1

    def _groups(self) -> tuple[int, ...]:
        return tuple(sorted({group for group in self.groups if 0 < group <= COUNT and group != self.gid}))


def identity_of(runtime: Runtime, task: Account, *, privileged: bool) -> Identity | None:
    """Whom the users of a container are, where ``task`` is whom plain nodes run as.

    None: as the runtime has it, for they can do no more than plain nodes, or the host's owner allows that they may.
    """
    if privileged or runtime.rootless or task.uid == 0:
        return None
    return Identity(task.uid, task.gid, task.groups, mapped=runtime.kind == "podman")


def _pieces(root: int, same: Iterable[int]) -> list[str]:
    """A map of ids, ``INSIDE:HOST:COUNT`` each; ``same`` are those that are the same inside and on the host."""
    pieces, at = [f"0:{root}:1"], 1
    for each in same:
        pieces += [f"{at}:{FIRST + at - 1}:{each - at}"] * (each > at) + [f"{each}:{each}:1"]
        at = each + 1
    return [*pieces, *[f"{at}:{FIRST + at - 1}:{COUNT - at + 1}"] * (at <= COUNT)]
