"""Everything of one history, and the parts of production that it runs."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from agent.core.model import Member, Probe
from agent.work import Work
from coordinator.core.decide import decide
from coordinator.core.events import Event, HostJoined
from coordinator.core.model import HostFacts
from coordinator.core.state import Timing
from coordinator.core.turn import Turn
from tests.fakes.memory_store import MemoryDisk
from tests.sim.agent import Agent
from tests.sim.clock import Clock
from tests.sim.coordinator import Coordinator
from tests.sim.host import Host, Program
from tests.sim.ledger import Ledger
from tests.sim.network import Link, Network
from tests.sim.output import COORDINATOR_KEEPS
from tests.sim.user import User

DAY = 86400.0
# The coordinator's log files are real ones: here no disk slows a history down.
MEMORY = Path("/dev/shm")

TIMING = Timing(heartbeat=5.0, suspect=10.0, lease=15.0, lease_grace=4.0, prepare=20.0, probe_interval=30.0)


# A host's clock goes so much too fast or too slow at most. What lasts lease + grace on it must not last longer than
# lease + grace + margin in truth, less the time that a kill takes: here 19 s / 0.98 + 0.5 s < 20 s.
DRIFT = 0.02


@dataclass(frozen=True, slots=True)
class Parts:
    """What a history is made of; a test of the tests puts something broken in here."""

    decide: Callable[[Turn, Event], Any] = decide
    work: Callable[..., Work] = Work
    agent: Callable[[Host], Agent] = Agent
    coordinator: Callable[[World], Coordinator] = Coordinator


@dataclass(slots=True)
class Disk:
    """How long a commit to the coordinator's disk takes at most, and until when it is full."""

    commit: float = 0.003
    full_until: float = 0.0


class World:
    """One history's state, the simulated and the real."""

    def __init__(self, seed: int, parts: Parts, tell: Callable[[str], None] | None = None) -> None:
        self.random = Random(seed)
        self.parts = parts
        self.timing = TIMING
        self.clock = Clock()
        self.network = Network(self.clock, self.random)
        self.disk = MemoryDisk()
        self.log_limit = self.random.choice(COORDINATOR_KEEPS)
        self._folder = tempfile.TemporaryDirectory(prefix="rallypoint-sim-", dir=MEMORY if MEMORY.is_dir() else None)
        self.folder = Path(self._folder.name)
        self.logs = self.folder / "logs"
        # What users uploaded, by its hash.
        self.archives: dict[str, bytes] = {}
        self.ledger = Ledger(self)
        self.hosts: dict[str, Host] = {}
        self.user = User(self)
        self.programs: dict[str, Program] = {}
        self.coordinator: Coordinator | None = None
        self.disk_state = Disk()
        self.wall_offset = 1_800_000_000.0
        # Directed pairs of hosts that do not reach each other.
        self.cut: set[tuple[str, str]] = set()
        self._tell = tell

    def trace(self, *what: object) -> None:
        """Say what happens, if anyone listens."""
        if self._tell is not None:
            self._tell(f"{self.clock.now:9.4f}  {' '.join(map(str, what))}")

    def tell_changes(self, changes: list[Any]) -> None:
        """Say what the coordinator has on disk now, if anyone listens."""
        if self._tell is not None:
            for change in changes:
                self.trace("coordinator:", _in_short(change))

    def wall(self) -> float:
        """What every wall clock shows; it may jump."""
        return self.clock.now + self.wall_offset

    def add_host(self, number: int, cpus: int, gpus: int, facts: HostFacts) -> Host:
        """A machine with a clock of its own, which the coordinator knows by ``number``."""
        rate = 1.0 + self.random.choice([0.0, 0.0, -DRIFT, DRIFT, self.random.uniform(-DRIFT, DRIFT)])
        host = self.hosts[f"h-{number}"] = Host(self, number, cpus, gpus, facts, rate)
        return host

    def join_host(self, cpus: int, gpus: int, facts: HostFacts) -> Host:
        """A machine joins the cluster at its beginning, and its agent starts."""
        host = self.add_host(len(self.hosts) + 1, cpus, gpus, facts)
        assert self.coordinator is not None
        self.coordinator.post(HostJoined(host.name, facts, host.name), lambda _: host.start_agent())
        return host

    def call_up(self, link: Link, call: Callable[..., object], *args: Any) -> None:
        """A call over ``link`` to whichever coordinator lives when it arrives."""
        self.network.up(link, call, *args)

    def commit_seconds(self) -> float:
        """What the next commit takes."""
        return self.random.random() * self.disk_state.commit

    def reach(self, source: Host, member: Member) -> Probe:
        """What a probe of another host shows now."""
        target = self.hosts[member.host_id]
        reached = target.up and target.agent is not None and (source.id, target.id) not in self.cut
        address, port = member.addresses[0], member.port
        return Probe(member.host_id, address, port, reached, "" if reached else "timed out", 0.001)

    # --- the coordinator's life ---------------------------------------------------------------------------------

    def start_coordinator(self) -> None:
        """Start it from its disk, unless it runs."""
        if self.coordinator is None:
            self.trace("coordinator starts")
            self.coordinator = self.parts.coordinator(self)
            self.ledger.check_jobs()

    def kill_coordinator(self) -> None:
        """Kill -9; agents whose link is not cut see their streams break."""
        dead = self.coordinator
        if dead is None:
            return
        self.trace("coordinator dies")
        dead.process.kill()
        dead.logs.close()
        self.coordinator = None
        for host in self.hosts.values():
            if host.agent is not None:
                host.agent.coordinator_lost(dead)

    def end(self) -> None:
        """Nothing happens any more."""
        if self.coordinator is not None:
            self.coordinator.process.kill()
            self.coordinator.logs.close()
        self._folder.cleanup()
        for host in self.hosts.values():
            if host.agent is not None:
                host.agent.process.kill()


def _in_short(change: Any) -> str:
    """A change as one short line: its name, whom it is about, and how that stands."""
    record = next(
        (getattr(change, part) for part in ("job", "node", "allocation", "gang", "host") if hasattr(change, part)), None
    )
    words = [type(change).__name__, *(str(getattr(change, part)) for part in ("id", "job_id") if hasattr(change, part))]
    for part in (
        "id",
        "job_id",
        "rank",
        "attempt",
        "host_id",
        "epoch",
        "state",
        "wanted",
        "observed",
        "phase",
        "cause",
        "exit_code",
    ):
        value = getattr(record, part, None)
        if value is not None:
            words.append(f"{part}={getattr(value, 'value', value)}")
    return " ".join(words)
