"""The test's end of a fleet of agents that runs as a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Answer:
    """An order was carried out ``at`` (monotonic seconds), and so many allocations are ``claimed`` to run."""

    at: float
    claimed: int


class FleetProcess:
    """Takes orders; each is answered once it is carried out."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self._process = process
        self._log = log

    def watch(self) -> Answer:
        """Wait until every host is in contact, in a session that is new since the last time this was asked."""
        return self._order("watch")

    def end(self, code: int) -> Answer:
        """Let all that runs exit with ``code``, and wait until the coordinator knows."""
        return self._order(f"end {code}")

    def _order(self, words: str) -> Answer:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{words}\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, f"the fleet ended: {self._log.read_text()[-4000:]}"
        said = json.loads(line)
        return Answer(said["at"], said["claimed"])


@contextmanager
def fleet(data_dir: Path, address: str, hosts: int) -> Iterator[FleetProcess]:
    """Agents of the hosts h-1 to h-``hosts``, at work until the block ends."""
    log = data_dir.parent / "fleet.log"
    words = [sys.executable, "-m", "tests.fakes.fleet", str(data_dir), address, str(hosts)]
    with (
        log.open("w") as errors,
        subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True) as process,
    ):
        try:
            yield FleetProcess(process, log)
        finally:
            process.kill()
