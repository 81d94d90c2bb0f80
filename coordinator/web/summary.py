"""Counts over the whole cluster: what the page's tiles and the metrics show.

Capacity (CPUs, memory, GPUs) is that of hosts in contact only: what is offline or lost can be given to nobody.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, fields

from coordinator.core.hardware import Gpu
from coordinator.core.model import HostState, JobState
from coordinator.views import HostView, JobView, NodeCounts, OverviewView

IN_CONTACT = frozenset({HostState.ONLINE, HostState.SUSPECT})


@dataclass(slots=True)
class GpuModel:
    """All GPUs of one name; memory in bytes, None if none tells it."""

    name: str
    total: int = 0
    used: int = 0
    broken: int = 0
    memory_bytes: int | None = None
    _known: int = 0
    _sum: float = 0.0

    @property
    def utilization_percent(self) -> float | None:
        """The mean of the GPUs that tell it; None if none does."""
        return round(self._sum / self._known, 1) if self._known else None

    def add(self, gpu: Gpu, used: bool) -> None:
        """Count one more GPU."""
        self.total += 1
        self.used += used
        self.broken += gpu.problem is not None or bool(gpu.fenced)
        if gpu.memory_bytes is not None:
            self.memory_bytes = (self.memory_bytes or 0) + gpu.memory_bytes
        if gpu.utilization_percent is not None:
            self._known += 1
            self._sum += gpu.utilization_percent


@dataclass(slots=True)
class Summary:
    """See the module; memory in bytes. States without members are counted as 0."""

    hosts: dict[str, int]
    hosts_cordoned: int
    jobs: dict[str, int]
    nodes: dict[str, int]
    gpu_models: list[GpuModel]
    cpus: int = 0
    cpus_used: int = 0
    memory_bytes: int = 0
    memory_used_bytes: int = 0

    @property
    def gpus(self) -> int:
        """GPUs of hosts in contact, broken ones included."""
        return sum(model.total for model in self.gpu_models)

    @property
    def gpus_used(self) -> int:
        """GPUs held by allocations."""
        return sum(model.used for model in self.gpu_models)

    @property
    def gpus_broken(self) -> int:
        """GPUs that can't be used."""
        return sum(model.broken for model in self.gpu_models)


def summarise(view: OverviewView) -> Summary:
    """Count everything in one pass over hosts and jobs."""
    hosts = Counter(host.host.state for host in view.hosts)
    jobs = Counter(job.job.state for job in view.jobs)
    present = [host for host in view.hosts if host.host.state in IN_CONTACT]
    summary = Summary(
        hosts={state.value: hosts[state] for state in HostState},
        hosts_cordoned=sum(host.host.cordoned for host in view.hosts),
        jobs={state.value: jobs[state] for state in JobState},
        nodes=_nodes(view.jobs),
        gpu_models=_models(present),
    )
    for host in present:
        summary.cpus_used += host.cpus_used
        summary.memory_used_bytes += host.memory_used_bytes
        if host.host.hardware is not None:
            summary.cpus += host.host.hardware.cpus
            summary.memory_bytes += host.host.hardware.memory_bytes
    return summary


def _nodes(jobs: Iterable[JobView]) -> dict[str, int]:
    # Most jobs of a long history have the same few counts: adding each of those once is several times faster.
    counts = Counter(job.counts for job in jobs)
    return {
        field.name: sum(getattr(count, field.name) * times for count, times in counts.items())
        for field in fields(NodeCounts)
    }


def _models(hosts: Iterable[HostView]) -> list[GpuModel]:
    models: dict[str, GpuModel] = {}
    for host in hosts:
        used = set(host.gpus_used)
        for gpu in host.host.hardware.gpus if host.host.hardware else ():
            models.setdefault(gpu.name, GpuModel(gpu.name)).add(gpu, gpu.uuid in used)
    return sorted(models.values(), key=lambda model: (-model.total, model.name))
