"""What a coordinator tells its owner at start: where it listens, the admin's context, the one line that joins."""

from __future__ import annotations

import json
import shlex
import socket
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path
from typing import TextIO

from rallypoint.files import write_private

from coordinator.access.ca import Authority
from coordinator.access.context import write_context
from coordinator.access.errors import Unauthenticated
from coordinator.access.roles import Role
from coordinator.access.users import token_hash
from coordinator.accounts import Accounts
from coordinator.context import ADMIN_FILE, Context, ContextError, default_data_dir, load_context
from coordinator.store.leadership import Leadership, Member

ADMIN = "admin"
ENDPOINTS_FILE = "endpoints.json"
_ANY = ("", "0.0.0.0", "[::]", "::")  # noqa: S104 -- compared, not bound


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Addresses as configured (``HOST:PORT``) and the ports that were bound. ``http_port`` 0: no web page,
    ``install_port`` 0: no installer.

    ``advertised_agent_port``: agents' port as hosts see it.
    """

    advertise: tuple[str, ...]
    listen: str
    api_port: int
    agent_listen: str
    agent_port: int
    http: str | None
    http_port: int
    advertised_agent_port: int
    install_listen: str | None = None
    install_port: int = 0

    def member(self) -> Member:
        """Where others find this coordinator."""
        host = self.public().rpartition(":")[0]
        return Member(self.public(), f"{host}:{self.advertised_agent_port}")

    def local(self) -> str:
        """Where commands on this machine find the API."""
        host = self.listen.rpartition(":")[0]
        return f"{'127.0.0.1' if host in _ANY else host}:{self.api_port}"

    def public(self) -> str:
        """Where hosts find the API: an advertised name, the address listened on, or this machine's own."""
        if self.advertise:
            return f"{self.advertise[0]}:{self.api_port}"
        host = self.listen.rpartition(":")[0]
        return f"{_own_address() if host in _ANY else host}:{self.api_port}"

    def install(self) -> str:
        """Where hosts find the installer, like ``public``; empty without one."""
        if self.install_listen is None or not self.install_port:
            return ""
        if self.advertise:
            return f"{self.advertise[0]}:{self.install_port}"
        host = self.install_listen.rpartition(":")[0]
        return f"{_own_address() if host in _ANY else host}:{self.install_port}"

    def web(self) -> str:
        """The page's address; empty without one."""
        if self.http is None:
            return ""
        host = self.http.rpartition(":")[0]
        return f"https://{'127.0.0.1' if host in _ANY else host}:{self.http_port}/"

    def as_log(self) -> dict[str, str | int]:
        """For the log."""
        return {"api": self.local(), "agent_port": self.agent_port, "web": self.web()}


def write_endpoints(data_dir: Path, endpoints: Endpoints) -> None:
    """Write the chosen addresses down for scripts: ``endpoints.json`` in the data directory."""
    agent_host = endpoints.agent_listen.rpartition(":")[0]
    content = {
        "version": 1,
        "api": endpoints.local(),
        "join": endpoints.public(),
        "agents": f"{'127.0.0.1' if agent_host in _ANY else agent_host}:{endpoints.agent_port}",
        "web": endpoints.web(),
        "install": endpoints.install(),
    }
    write_private(data_dir / ENDPOINTS_FILE, (json.dumps(content, indent=1) + "\n").encode())


async def admin_context(
    accounts: Accounts, authority: Authority, data_dir: Path, endpoints: Endpoints, seat: Leadership | None
) -> Path:
    """The admin's context file, with today's addresses. Made, with a new token, when it is missing or damaged.

    Each of several coordinators on one database (``seat``) has a file and an admin of its own, so that none makes the
    file of another useless.
    """
    path = data_dir / ADMIN_FILE
    try:
        token = load_context(path).token
    except ContextError:
        token = ""
    taken = {user.name for user in accounts.list_users()}
    if not _accepted(accounts, token):
        name = ADMIN
        if seat is not None:
            names = chain([ADMIN], (f"{ADMIN}-{number}" for number in count(2)))
            name = next(name for name in names if name not in taken)
        token = (await accounts.replace_user(name, Role.ADMIN)).token
    members = seat.members if seat is not None else ()
    others = tuple(member.api for member in members if member.api != endpoints.public())
    context = Context(endpoints.local(), authority.cluster_id, authority.certificate_pem, token, others)
    write_context(path, context)
    return path


def _accepted(accounts: Accounts, token: str) -> bool:
    try:
        return accounts.by_token_hash(token_hash(token)) is not None
    except Unauthenticated:
        return False


def greet(out: TextIO, data_dir: Path, endpoints: Endpoints, context: Path) -> None:
    """Print where everything is, and the lines that make a machine a host."""
    own = data_dir == default_data_dir()
    option = "" if own else f" --context {shlex.quote(str(context))}"
    lines = [
        f"coordinator serves at {endpoints.public()} (agents: port {endpoints.agent_port})",
        f"web page: {endpoints.web() or 'off'}",
        f"admin context: {context}",
        *_installing(endpoints, option),
        "join a host (the token is made here and goes by standard input; run the second half on the host):",
        f"  coordinator{option} token create | agent join {endpoints.public()} --token-file -",
    ]
    print("\n".join(lines), file=out, flush=True)


def _installing(endpoints: Endpoints, option: str) -> list[str]:
    command = f"  coordinator{option} token create --show-install"
    what = "make a machine a host (prints a line that installs the agent there, and the token it asks for):"
    return [what, command] if endpoints.install() else []


def _own_address() -> str:
    """The address other machines are most likely to see: that of the default route, without sending anything."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return "127.0.0.1"
        address: str = probe.getsockname()[0]
        return address
