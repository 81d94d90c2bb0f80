"""A host of a history: its hardware, its disk, what runs on it, and how it dies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from coordinator.core.evidence import Evidence, Sign
from coordinator.core.hardware import Gpu, Hardware
from coordinator.core.ids import HostId
from coordinator.core.model import HostFacts, PeerEndpoint
from tests.sim.network import Link
from tests.sim.output import LONGEST_SECONDS, PIECES, Files
from tests.sim.spawner import Journal, LeaseFile, Running, Spawner

if TYPE_CHECKING:
    from tests.sim.agent import Agent
    from tests.sim.world import World

PEER_PORT = 7000
# A killed process is gone after so long at most; one with much memory to give back takes its time.
KILL_SECONDS = 0.5
# How often the reaper above a spawner dies with it.
REAPER_DIES_TOO = 0.3
# What one of a crowd of short nodes takes that is not short.
SLOW_SECONDS = 4.0


@dataclass(frozen=True, slots=True)
class Program:
    """What a node does. ``term_seconds``: how long it takes to end after TERM; None: it ignores it."""

    seconds: float = 5.0
    code: int = 0
    term_seconds: float | None = 0.1
    log_bytes: int = 0
    # The rank that ends with ``code`` at ``seconds``; the others end with 0.
    failing_rank: int | None = None
    # The ranks that take longer than all others, each some seconds.
    slow_ranks: tuple[int, ...] = ()


class Host:
    """A machine. ``now`` is its own clock, which starts anew with each boot.

    ``rate``: seconds on that clock in one true second. ``removed``: its owner took it out of the cluster, and it knows.
    """

    def __init__(self, world: World, number: int, cpus: int, gpus: int, facts: HostFacts, rate: float = 1.0) -> None:
        self.world = world
        self.rate = rate
        self.wall_offset = 0.0
        self.removed = False
        self.id = HostId(f"h-{number}")
        self.name = f"host{number}"
        self.facts = facts
        self.cpus = cpus
        self.gpus = gpus
        self.link = Link()
        self.address = f"10.0.0.{number}"
        self.peer = PeerEndpoint((self.address,), PEER_PORT)
        self.journal = Journal()
        self.files = Files(world.random)
        self.lease_file = LeaseFile()
        self.boots = 1
        self.up = True
        self.processes: dict[str, Running] = {}
        self.spawner: Spawner | None = None
        self.agent: Agent | None = None
        self.spawner_doomed = False
        self.reapers = 0
        self._booted_at = world.clock.now - 100.0 * number
        # What it saw of its GPUs and the coordinator does not have yet, and how often it saw anything.
        self.evidence: list[Evidence] = []
        self.sights = 0
        self._tested = 0
        cards = tuple(
            Gpu(f"GPU-{number}-{i}", i, "NVIDIA H100", memory_bytes=80 << 30, watched=True) for i in range(gpus)
        )
        self._hardware: dict[str, Any] = {"hostname": self.name, "cpus": cpus, "memory_bytes": 16 << 30, "gpus": cards}

    def now(self) -> float:
        """Seconds since boot."""
        return (self.world.clock.now - self._booted_at) * self.rate

    def wall(self) -> float:
        """What its wall clock shows; it may jump."""
        return self.world.wall() + self.wall_offset

    def hardware(self) -> Hardware:
        """What its agent reports."""
        return Hardware(arch="x86_64", boot_id=f"boot-{self.boots}", machine_id=self.name, **self._hardware)

    # --- GPUs ---------------------------------------------------------------------------------------------------

    def see(self, gpu: str, sign: Sign, code: int = 0) -> None:
        """Something is seen of a GPU (empty: of the host)."""
        self.sights += 1
        self.world.trace(self.name, "sees", gpu, sign.value, code)
        self.evidence.append(Evidence(gpu, sign, code, sequence=self.sights))

    def test(self, gpus: Sequence[str], number: int) -> None:
        """It is to test GPUs, once for each order, however often it hears it."""
        if number <= self._tested:
            return
        self._tested = number
        for gpu in gpus or ("",):
            sign = Sign.TEST_FAILED if self.world.random.random() < 0.2 else Sign.TEST_PASSED
            self.world.clock.after(self.world.random.uniform(0.1, 5.0), None, self.see, gpu, sign, number)

    # --- processes ----------------------------------------------------------------------------------------------

    def start(self, key: str, desired: Any) -> Running:
        """A process begins."""
        program = self.world.programs[desired.job_name]
        process = Running(key, self, desired, program, self.world.clock.now, reaper=self.reapers)
        self.world.trace(self.name, "starts", key)
        self.world.ledger.started(process)
        self.processes[key] = process
        code = program.code if program.failing_rank in (None, desired.rank) else 0
        self._plan_output(process)
        seconds = SLOW_SECONDS if desired.rank in program.slow_ranks else program.seconds
        self.world.clock.after(seconds, None, self._exit, process, code)
        if self.spawner_doomed:
            self.spawner_doomed = False
            self.world.clock.after(0.0, None, self.kill_spawner)
        return process

    def _plan_output(self, process: Running) -> None:
        program, random = process.program, self.world.random
        for _ in range(PIECES if program.log_bytes else 0):
            at = random.random() * min(program.seconds, LONGEST_SECONDS)
            self.world.clock.after(at, None, self._say, process, program.log_bytes // PIECES)

    def _say(self, process: Running, length: int) -> None:
        if process.alive:
            self.files.write(process.id, length)

    def terminate(self, process: Running) -> None:
        """TERM: it ends when it pleases."""
        seconds = process.program.term_seconds
        if seconds is not None:
            self.world.clock.after(seconds, None, self._exit, process, 143)

    def kill(self, process: Running) -> None:
        """KILL: it ends as soon as the kernel gets to it."""
        self.world.clock.after(self.world.random.random() * KILL_SECONDS, None, self._exit, process, 137)

    def log_bytes(self, key: str) -> int:
        """Its output so far."""
        return self.files.sizes.get(key, 0)

    def _exit(self, process: Running, code: int) -> None:
        if not process.alive:
            return
        process.alive = False
        # A process whose parent died fell to init, which tells nobody how it ended.
        process.code = code if process.reaper == self.reapers else None
        self.world.trace(self.name, "ends", process.id, code)
        self.world.ledger.ended(process)
        if self.spawner is not None:
            self.world.clock.after(0.0005, self.spawner.process, self.spawner.reap, process)

    # --- deaths -------------------------------------------------------------------------------------------------

    def boot(self) -> None:
        """The machine comes up, and systemd starts the agent."""
        if not self.up:
            self.up = True
            self.boots += 1
            self._booted_at = self.world.clock.now
            self.world.trace(self.name, "boots")
        self.start_agent()

    def crash(self) -> None:
        """The power goes: all processes die, the disk keeps what was synced and perhaps a little more."""
        if not self.up:
            return
        self.world.trace(self.name, "crashes")
        self.up = False
        self.kill_agent()
        self.kill_spawner()
        for process in self.processes.values():
            if process.alive:
                process.alive = False
                self.world.ledger.ended(process)
        unsynced = len(self.journal.written) - self.journal.synced
        self.journal.crash(self.world.random.randint(0, unsynced))
        self.files.crash(self.world.random)

    def start_agent(self) -> None:
        """Start the daemon, unless it runs, is not wanted any more, or the machine is down."""
        if self.up and self.agent is None and not self.removed:
            self.world.trace(self.name, "agent starts")
            self.agent = self.world.parts.agent(self)

    def kill_agent(self) -> None:
        """Kill -9 of the daemon; its spawner and tasks go on."""
        if self.agent is None:
            return
        self.world.trace(self.name, "agent dies")
        self.agent.die()
        self.agent = None
        if self.spawner is not None:
            self.spawner.daemon_died()

    def start_spawner(self) -> Spawner:
        """The spawner, which is started if there is none."""
        if self.spawner is None:
            self.spawner = Spawner(self)
        return self.spawner

    def kill_spawner(self) -> None:
        """Kill -9 of the spawner, and now and then of the reaper above it; tasks go on, and a new one is started."""
        if self.spawner is None:
            return
        self.world.trace(self.name, "spawner dies")
        if self.world.random.random() < REAPER_DIES_TOO:
            self.reapers += 1
        self.spawner.process.kill()
        self.spawner = None
        if self.agent is not None:
            self.agent.spawner_lost()
