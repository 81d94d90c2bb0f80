"""systemd's units, through its own commands."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass

_PROPERTIES = ("ActiveState", "SubState", "MainPID", "NRestarts", "ExecMainStatus", "StatusText")
_SECONDS = 120.0


class SupervisionFailed(Exception):
    """The agent could not be started, stopped or looked at: the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit of the system's systemd, or of this user's. Methods raise SupervisionFailed."""

    name: str
    user: bool = False

    def command(self, program: str, *words: str) -> list[str]:
        """The command line of systemctl or journalctl for whichever systemd has the unit."""
        return [program, *(["--user"] if self.user else []), *words]

    def do(self, verb: str, *options: str) -> None:
        """``start``, ``stop``, ``restart`` …"""
        self._run("systemctl", verb, *options, self.name)

    def reload(self) -> None:
        """Have systemd read its unit files again."""
        self._run("systemctl", "daemon-reload")

    def properties(self) -> dict[str, str]:
        """What systemd knows of the unit."""
        told = self._run("systemctl", "show", "--property", ",".join(_PROPERTIES), self.name)
        return dict(line.split("=", 1) for line in told.splitlines() if "=" in line)

    def _run(self, program: str, *words: str) -> str:
        command = self.command(program, *words)
        line = " ".join(command)
        try:
            ended = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
        except FileNotFoundError:
            raise SupervisionFailed(f"there is no {program} here, though systemd has the agent: {line}") from None
        except subprocess.TimeoutExpired:
            raise SupervisionFailed(f"{line!r} does not end; see 'journalctl -u {self.name}'") from None
        if ended.returncode:
            said = " ".join(ended.stderr.split()) or f"code {ended.returncode}"
            raise SupervisionFailed(f"{line!r} failed: {said}")
        return ended.stdout
