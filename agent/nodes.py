"""From a desired allocation to a process order: directories, files, environment, command."""

from __future__ import annotations

import errno
import ipaddress
import json
import os
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from agent import common_path, environ
from agent.bounds import Bounds
from agent.core.reconcile import DEFAULT_SIGNAL
from agent.ownership import give
from agent.users import closed_to

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from agent.containers.host import ContainerHost
    from agent.core.model import AllocationId, Desired, Group
    from agent.hardware.model import Interface
    from agent.places import Places
    from agent.pythons import Pythons
    from agent.spawner.wire import Message
    from agent.users import Account, HostUsers

DEFAULT_GRACE = 10.0
TICKET = "ticket"


@dataclass(frozen=True, slots=True)
class NodeMaker:
    """Makes what a node needs; ``inherited`` is what its environment takes over, ``interfaces`` are the host's now,
    ``users`` are whom it may run as."""

    places: Places
    host: environ.Host
    inherited: Mapping[str, str]
    interfaces: Callable[[], tuple[Interface, ...]]
    users: HostUsers
    bounds: Bounds = field(default_factory=Bounds)
    containers: ContainerHost | None = None
    pythons: Pythons | None = None

    def owner(self, desired: Desired) -> Account | None:
        """Whom a node runs as; None: as the agent, like all that stands for a container. Raises UserRefused."""
        return None if desired.spec.image else self.users.account(desired.spec.user)

    def check_open(self, owner: Account | None) -> None:
        """See whether ``owner`` can get to where nodes work here; of whom most run as the agent knows since its start.

        Raises:
            OSError: they can't; it names the directory that is closed.
        """
        if owner is not None and owner != self.users.known.task:
            folder = closed_to(owner, [self.places.work, self.places.aux])
            if folder:
                raise OSError(errno.EACCES, f"closed to user {owner.name!r}, as whom it is to run", folder)

    def holder(self, desired: Desired) -> Account | None:
        """Who has a node's files; None: the agent's own user. Of a container that is known once it is prepared.

        Raises UserRefused.
        """
        if not desired.spec.image:
            return self.owner(desired)
        return None if self.containers is None else self.containers.holder(desired.id)

    def spawner_can_change_users(self, can: bool) -> None:
        """What the spawner says of itself: one of an earlier release runs nodes as itself for as long as it lives."""
        self.users.spawner_can = can

    def order(self, desired: Desired) -> Message:
        """The spawner's order that starts ``desired``. Lays a group's files ready.

        Raises:
            OSError: its files can't be written.
            ValueError: it can't be given what it holds.
            UserRefused: it may not run as whom its job says.
        """
        spec, owner = desired.spec, self.owner(desired)
        if owner is not None and spec.python and self.pythons is not None:
            self.places.make_aux(desired.id, owner)
            give(self.pythons.directory_of(desired), owner)
        env = self.environment(desired)
        order: Message = {
            "op": "spawn",
            "id": desired.id,
            "log": self.places.lay_log(desired.id, owner),
            "signal": spec.stop_signal or DEFAULT_SIGNAL,
            "grace": DEFAULT_GRACE if spec.stop_duration is None else spec.stop_duration,
            "limit": spec.max_duration,
            "memory": spec.memory_limit,
            "after": spec.after,
            "meta": None,
            **self._program(desired, env),
        }
        if not spec.image:
            order |= self.bounds.order(desired)
        if owner is not None:
            order["as"] = owner.order()
        if desired.behind is not None:
            order |= {"behind": desired.behind, "within": desired.behind_seconds}
        return order

    def _program(self, desired: Desired, env: dict[str, str]) -> Message:
        """What is executed: the node's own program, or what stands for its container."""
        if not desired.spec.image:
            return {"argv": environ.command(desired, env["PATH"]), "env": env, "cwd": self._directory(desired)}
        assert self.containers is not None
        # Its runtime holds them: the attendant is no part of the container.
        bounds = self.bounds.order(desired)
        return self.containers.order(desired, env, self._home(desired), environ.script(desired.spec.commands), bounds)

    def order_extra(self, desired: Desired, key: str, command: str) -> Message:
        """The spawner's order for one more process beside a running node: a shell evaluates ``command``."""
        cwd = self._directory(desired)
        env = self.environment(desired)
        if desired.group is not None:
            env |= environ.daemon_environment(env, self._link(desired, desired.group)[1], command)
        argv, owner = ["sh", "-c", command], self.owner(desired)
        order: Message = {"op": "exec", "id": desired.id, "key": key, "argv": argv, "env": env, "cwd": cwd}
        if desired.spec.shm_bytes and self.bounds.shm:
            order["shm"] = desired.spec.shm_bytes
        return order if owner is None else {**order, "as": owner.order()}

    def environment(self, desired: Desired) -> dict[str, str]:
        """The node's environment; with a group, its files are laid ready if they are not."""
        cwd = self._directory(desired)
        files = None if desired.group is None else self._files(desired, desired.group)
        # A container has its own login, the image's.
        inherited, owner = {} if desired.spec.image else self.inherited, self.owner(desired)
        if owner is not None:
            inherited = environ.login_of(owner, inherited, self.places.work_of(desired.id))
        env = environ.node_environment(desired, self.host, cwd, inherited, files)
        return self.pythons.activated(desired, env) if desired.spec.python and self.pythons is not None else env

    def ticket(self, key: AllocationId) -> str:
        """The secret by which a node's processes prove whose they are; empty: it has none."""
        try:
            with open(f"{self.places.aux_of(key)}/{TICKET}") as file:
                return str(json.load(file)["secret"])
        except (OSError, ValueError, KeyError):
            return ""

    def _home(self, desired: Desired) -> str:
        if desired.group is None:
            return self.places.work_of(desired.id)
        return self.places.common_work(desired.id, common_path.path_of(desired, desired.group), self.holder(desired))

    def _directory(self, desired: Desired) -> str:
        work = self._home(desired)
        # Joined with nothing it would end in a slash, which scripts that append to it do not expect.
        return os.path.join(work, desired.spec.working_dir) if desired.spec.working_dir else work

    def _files(self, desired: Desired, group: Group) -> environ.ClusterFiles:
        directory = self.places.aux_of(desired.id)
        hostfile, ticket = f"{directory}/hostfile", f"{directory}/{TICKET}"
        if not os.path.exists(ticket):
            owner = self.holder(desired)
            self.places.make_aux(desired.id, owner)
            _write(hostfile, environ.hostfile(group), owner)
            _write(ticket, json.dumps({"allocation": desired.id, "secret": secrets.token_urlsafe(24)}), owner)
        interface, network = self._link(desired, group)
        ready = self.places.ready_file_of(desired.id)
        return environ.ClusterFiles(hostfile, str(self.places.launcher), ticket, interface, network, ready)

    def _link(self, desired: Desired, group: Group) -> tuple[str, str]:
        own = next((member.address for member in group.members if member.rank == desired.rank), "")
        return link_of(own, [member.address for member in group.members], self.interfaces())


def _write(path: str, text: str, owner: Account | None) -> None:
    """Write a file for ``owner``, else this user, alone: all of it or nothing, for a torn one would be taken for whole.

    Raises:
        OSError: names the file.
    """
    part = f"{path}.part"
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(text)
            if owner is not None:
                os.fchown(file.fileno(), owner.uid, owner.gid)
        os.rename(part, path)
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from None


def link_of(own: str, addresses: list[str], interfaces: tuple[Interface, ...]) -> tuple[str, str]:
    """Name of the interface that holds ``own``, and the network that MPI must be told to use.

    That is the interface's if all ``addresses`` are in it and MPI might choose another one; else empty.
    """
    for interface in interfaces:
        for address in interface.addresses:
            if address.ip == own:
                network = _common_network(own, address.prefix_len, addresses)
                told = _is_a_choice(interface, interfaces, addresses)
                return interface.name.partition(":")[0], network if told else ""
    return "", ""


def _is_a_choice(own: Interface, interfaces: tuple[Interface, ...], addresses: list[str]) -> bool:
    """Whether MPI, left alone, may take another interface than ``own``, or not take it: it avoids the loop-back."""
    if own.loopback:
        return len(set(addresses)) > 1
    others = (other for other in interfaces if other.up and not other.loopback and other.name != own.name)
    return any(other.addresses for other in others)


def _common_network(own: str, prefix: int | None, addresses: list[str]) -> str:
    if prefix is None:
        return ""
    network = ipaddress.ip_network(f"{own}/{prefix}", strict=False)
    inside = all(ipaddress.ip_address(address) in network for address in addresses)
    return str(network) if inside else ""
