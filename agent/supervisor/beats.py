"""The agent's side of systemd's notify protocol, heard by the supervisor: readiness, words, heartbeat."""

from __future__ import annotations

import os
import secrets
import socket
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_CREDENTIALS = struct.Struct("3i")
_LONGEST = 4096
_FILE = "notify"


class Ear:
    """A socket to which only the agent is listened to, whoever else writes there.

    It lies in the state directory, closed to the host's tasks, so that an agent goes on talking to the next supervisor.
    Where that path is too long for a socket its name is one that nobody can guess and take beforehand; then an agent
    that is taken over is not heard.
    """

    def __init__(self, state_dir: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        path = state_dir.absolute() / _FILE
        try:
            # The lock is ours: whoever made this one is gone.
            path.unlink(missing_ok=True)
            self.socket.bind(str(path))
            path.chmod(0o600)
            self._name = str(path)
        except OSError:
            self._name = f"@rallypoint-agent-{secrets.token_hex(16)}"
            self.socket.bind("\0" + self._name[1:])

    def environment(self, watchdog: float) -> dict[str, str]:
        """What tells an agent to speak, at least every ``watchdog`` seconds."""
        return {"NOTIFY_SOCKET": self._name, "WATCHDOG_USEC": str(round(watchdog * 1e6))}

    def hear(self, agent: int) -> list[str]:
        """All that the process ``agent`` said since last time, line by line."""
        heard: list[str] = []
        while True:
            try:
                data, ancillary, _, _ = self.socket.recvmsg(_LONGEST, socket.CMSG_SPACE(_CREDENTIALS.size))
            except (BlockingIOError, ConnectionError):
                return heard
            if agent and _sender(ancillary) == (agent, os.getuid()):
                heard += data.decode(errors="replace").splitlines()


def _sender(ancillary: list[tuple[int, int, bytes]]) -> tuple[int, int]:
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS and len(data) >= _CREDENTIALS.size:
            pid, uid, _ = _CREDENTIALS.unpack_from(data)
            return pid, uid
    return 0, -1
