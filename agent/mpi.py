"""MPI without ssh: a node's `mpirun` starts its remote daemons through the agents of its own group, and nowhere else.

`mpirun` → `rallypoint-mpi-launch` (`agent.mpi_client`) → this host's agent, by a Unix socket and the node's
ticket → the agent of the address it names, by the peer port → its spawner, in that node's environment, directory and
process tree.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import os
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog
from rallypoint.files import write_private

from agent import mpi_client
from agent.core.model import AllocationId
from agent.peer import PeerError
from agent.runner import unix_listener

if TYPE_CHECKING:
    from rallypoint.tls import PeerIdentity

    from agent.core.model import Desired, GroupMember
    from agent.nodes import NodeMaker
    from agent.peer import Frame, PeerPort
    from agent.work import Work

log = structlog.get_logger()

SOCKET = "mpi.sock"
MAX_REQUEST = 256 * 1024
REQUEST_SECONDS = 10.0
# All nodes of a group are told to start at once, but each by its own message: the other may be a moment behind.
START_SECONDS = 30.0


def write_launcher(path: Path, for_others: bool) -> None:
    """Write the program that MPI is told to use in place of ssh, alone in a directory of the state directory.

    ``for_others``: nodes run as other users, who are to read it.
    """
    text, mode = _program(path.parent.parent), 0o755 if for_others else 0o700
    # One that is there is not touched: a full disk would leave an empty one.
    if not path.exists() or path.read_text() != text:
        part = path.with_name(f".{path.name}.new")
        write_private(part, text.encode())
        # Before it has its name: a node may be about to start it.
        part.chmod(mode)
        part.rename(path)
    path.chmod(mode)


def _program(state_dir: Path) -> str:
    """It holds all it needs but a Python, and looks for one by itself: the agent's own, and the files beside it, may be
    closed to the node's user (`/root/venv`), and only who runs it can tell."""
    pythons = dict.fromkeys((sys.executable, os.path.realpath(sys.executable)))
    source, own = Path(mpi_client.__file__).read_text(), shlex.quote(sys.executable)
    return f"""#!/bin/sh
for python in {shlex.join(pythons)} "$(PATH=$PATH:/usr/local/bin:/usr/bin command -v python3)"; do
  [ -x "$python" ] && exec "$python" -I -S -c {shlex.quote(source)} {shlex.quote(str(state_dir))} "$@"
done
echo "rallypoint: user $(id -u) finds no python3 that it may run: install it, or open this one:" {own} >&2
exit {mpi_client.FAILED}
"""


@dataclass(frozen=True, slots=True)
class Launcher:
    """Both ends of a launch: asked by local nodes, and by peers."""

    work: Work
    nodes: NodeMaker
    peer: PeerPort

    async def listen(self, state_dir: Path, for_others: bool) -> asyncio.Server:
        """Answer the local nodes' launchers; each shows its node's ticket. ``for_others``: nodes run as other users."""
        listener = unix_listener(state_dir, SOCKET)
        (state_dir / SOCKET).chmod(0o666 if for_others else 0o600)
        return await asyncio.start_unix_server(self._serve, sock=listener, limit=MAX_REQUEST)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                request = json.loads(await reader.readline())
            answer = await self._asked(request)
        except (OSError, ValueError, TypeError, KeyError, TimeoutError, PeerError) as error:
            answer = {"code": None, "reason": str(error) or type(error).__name__}
        try:
            writer.write(json.dumps(answer).encode() + b"\n")
            await writer.drain()
        except OSError:
            # Its mpirun was killed meanwhile: nobody is left to tell.
            pass
        finally:
            writer.close()

    async def _asked(self, request: dict[str, Any]) -> Frame:
        key, host, command = AllocationId(request["allocation"]), str(request["host"]), str(request["command"])
        if key not in self.work.desired:
            # An agent that was just started: whoever asks may well have run before it.
            await self.work.until(self.work.is_informed, START_SECONDS)
        desired = self.work.desired.get(key)
        secret = self.nodes.ticket(key) if desired is not None else ""
        if desired is None or not secret or not hmac.compare_digest(secret, str(request["secret"])):
            raise PeerError(f"{key} is no node of a group on this host")
        member = _member_at(desired, host)
        log.info("mpi.launch", allocation=key, rank=member.rank, host=member.host_name)
        frame = {"op": "launch", "job": desired.job_id, "rank": member.rank, "command": command}
        frame["generation"] = _generation(desired)
        if member.host_id == self.peer.identity.host_id:
            return await self.launch(self.peer.identity, frame)
        try:
            return await self.peer.ask(member.host_id, member.address, member.peer_port, frame)
        except PeerError as error:
            raise PeerError(f"host {member.host_name} at {member.address}:{member.peer_port}: {error}") from None

    async def launch(self, caller: PeerIdentity, frame: Frame) -> Frame:
        """Run a command beside the node that ``frame`` names, if ``caller`` is a member of the same group."""

        def found() -> Desired | None:
            return self._node(caller, frame)

        desired = await self.work.until(found, START_SECONDS)
        if desired is None:
            log.warning("mpi.refused", caller=caller.host_id, job=str(frame.get("job"))[:80])
            return {"code": None, "reason": f"no node of this group runs on host {self.peer.identity.host_id}"}
        code, reason = await self.work.launch(desired, str(frame["command"]))
        return {"code": code, "reason": reason}

    def _node(self, caller: PeerIdentity, frame: Frame) -> Desired | None:
        for desired in self.work.desired.values():
            group = desired.group
            if group is None or desired.job_id != frame.get("job") or desired.rank != frame.get("rank"):
                continue
            if desired.spec.image:
                # Beside a container nothing is started: it would run on the host itself.
                continue
            known = any(member.host_id == caller.host_id for member in group.members)
            if known and group.generation == frame.get("generation") and self.work.is_running(desired.id):
                return desired
        return None


def _member_at(desired: Desired, host: str) -> GroupMember:
    members = desired.group.members if desired.group is not None else ()
    for member in members:
        if host in (member.address, member.host_name):
            return member
    raise PeerError(f"host {host!r} is not in this job's group ({', '.join(m.address for m in members)})")


def _generation(desired: Desired) -> int:
    return desired.group.generation if desired.group is not None else 0
