"""A watch over GPUs that a test makes up, with a clock that it moves by hand."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pytest

from agent.core.model import AllocationId, Desired, Observed, Phase, Spec, Wanted
from agent.hardware import Gpu, HardwareReport, Problem, Vitals
from agent.health.ledger import Ledger
from agent.health.watch import HealthWatch

if TYPE_CHECKING:
    from pathlib import Path

    from agent.health.model import Evidence

GIB = 1 << 30
WALL = 1_700_000_000.0
SOUND = Vitals(
    ecc_volatile=0,
    ecc_aggregate=0,
    remap_pending=False,
    remap_failed=False,
    slowdown=0,
    recovery_action=0,
    pcie_width=16,
    pcie_max_width=16,
    pcie_generation=4,
    pcie_max_generation=4,
    links=(True,) * 4,
    link_errors=(0,) * 4,
    processes=(),
    events=True,
)


def gpu(number: int = 0, problem: Problem | None = None, used: int = 0, busy: int = 0, **vitals: Any) -> Gpu:
    told = replace(SOUND, **vitals)
    return Gpu(f"GPU-{number}", number, memory_used_bytes=used, utilization_percent=busy, problem=problem, vitals=told)


def report(*gpus: Gpu, boot: str = "boot-1", problem: Problem | None = None) -> HardwareReport:
    return HardwareReport(
        hostname="h",
        arch="x86_64",
        os="",
        kernel="",
        boot_id=boot,
        machine_id=None,
        cpu_model=None,
        cpu_count=1,
        memory_bytes=None,
        memory_available_bytes=None,
        disks=(),
        interfaces=(),
        rdma=(),
        gpus=gpus,
        driver_version=None,
        cuda_version=None,
        gpu_problem=problem,
    )


@dataclass
class Host:
    """The agent's side of one host; ``restart`` is a new agent over the same state directory."""

    folder: Path
    now: float = 1000.0
    desired: dict[AllocationId, Desired] = field(default_factory=dict)
    observed: dict[AllocationId, Observed] = field(default_factory=dict)
    watch: HealthWatch = field(init=False)
    ledger: Ledger = field(init=False)

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        self.ledger = Ledger(self.folder, self.now, WALL + self.now)
        self.watch = HealthWatch(self.ledger, lambda: None, self.save, lambda: self.now)

    def save(self) -> None:
        self.ledger.save(self.ledger.content())

    def look(self, *gpus: Gpu, **how: Any) -> HardwareReport:
        self.watch.see_work(self.desired, self.observed)
        return self.watch.look(report(*gpus, **how))

    def run(self, key: str, *uuids: str) -> None:
        name = AllocationId(key)
        self.desired[name] = Desired(name, "j", "j", 0, 1, Wanted.RUNNING, Spec(), gpu_uuids=uuids)
        self.observed[name] = Observed(name, Phase.RUNNING)
        self.watch.see_work(self.desired, self.observed)

    def end(self, key: str) -> None:
        self.observed[AllocationId(key)] = Observed(AllocationId(key), Phase.ENDED)
        self.watch.see_work(self.desired, self.observed)

    def said(self) -> list[tuple[str, str, int, str]]:
        """All evidence that waits: GPU, sign, code, allocation."""
        return [(e.gpu_uuid, e.sign.name, e.code, e.allocation) for e in self.waiting()]

    def waiting(self) -> list[Evidence]:
        self.watch.opened(0)
        return self.watch.unreported(1000)


def conditions(found: HardwareReport, index: int = 0) -> list[tuple[str, int]]:
    return [(condition.sign.name, condition.code) for condition in found.gpus[index].conditions]


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)
