"""An in-memory ``Reader`` and ``LogReader`` that a test fills and changes; watchers see each change at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

from coordinator.core.errors import NotFound
from coordinator.core.hardware import Gpu, Hardware
from coordinator.core.health_records import HostEvent
from coordinator.core.ids import HostId, JobId, host_id, job_id
from coordinator.core.model import Host, HostFacts, HostState, Job, JobState, Node, NodeState
from coordinator.core.spec import JobSpec, Placement
from coordinator.gaps import Gap
from coordinator.logfiles import Run
from coordinator.outputs import Piece
from coordinator.paging import NodeQuery, choose
from coordinator.views import FIRST_NODES, HostView, JobDetail, JobView, NetworkView, NodeCounts, NodeView, OverviewView

GIB = 1024**3
NOW = 1_790_000_000.0


class FakeReader:
    """Canned snapshots. Change them only through the methods: they announce a new version."""

    def __init__(self) -> None:
        self.hosts: dict[HostId, HostView] = {}
        self.networks: tuple[NetworkView, ...] = ()
        self.jobs: dict[JobId, JobView] = {}
        self.nodes: dict[JobId, dict[int, NodeView]] = {}
        self.events: tuple[HostEvent, ...] = ()
        self.overviews = 0
        self._version = 1
        self._changed = asyncio.Condition()

    async def overview(self) -> OverviewView:
        """Everything there is."""
        self.overviews += 1
        return OverviewView(tuple(self.hosts.values()), self.networks, tuple(self.jobs.values()), self.events)

    async def job(self, ref: str, query: NodeQuery = FIRST_NODES) -> JobDetail:
        """By id or name, with those of its nodes that are asked for."""
        for view in self.jobs.values():
            if ref in (view.job.id, view.job.name):
                nodes = self.nodes.get(view.job.id, {})
                page = choose(nodes, query, lambda node: (node.node, node.host_name))
                return JobDetail(view, page.nodes, page.next_rank, page.total)
        raise NotFound(f"job '{ref}' does not exist; 'coordinator ps' lists those that do")

    async def next_version(self, seen: int) -> int:
        """Wait for a change."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._version > seen)
            return self._version

    async def put_host(self, view: HostView) -> None:
        """Add or replace a host."""
        self.hosts[view.host.id] = view
        await self._announce()

    async def put_job(self, view: JobView, *nodes: NodeView) -> None:
        """Add or replace a job, and those of its nodes that are given."""
        self.jobs[view.job.id] = view
        self.nodes.setdefault(view.job.id, {}).update({node.node.rank: node for node in nodes})
        await self._announce()

    async def put_networks(self, *networks: NetworkView) -> None:
        """Replace the networks."""
        self.networks = networks
        await self._announce()

    async def forget_job(self, name: JobId) -> None:
        """Remove a job."""
        del self.jobs[name]
        await self._announce()

    async def _announce(self) -> None:
        async with self._changed:
            self._version += 1
            self._changed.notify_all()


class FakeLogs:
    """Output in memory, per job and rank."""

    def __init__(self) -> None:
        self._output: dict[tuple[str, int], bytearray] = {}
        self._complete: set[tuple[str, int]] = set()
        self.gaps: dict[tuple[str, int], Gap] = {}
        self._changed = asyncio.Condition()

    async def size(self, job_id: str, rank: int) -> int:
        """Bytes so far."""
        return len(self._output.get((job_id, rank), b""))

    async def read(self, job_id: str, rank: int, offset: int, limit: int) -> Run:
        """A part of the bytes, or the gap."""
        gap = self.gaps.get((job_id, rank))
        if gap is not None and gap.start <= offset < gap.end:
            return Run(gap.end, b"", gap.end - offset, gap.reason)
        limit = min(limit, gap.start - offset) if gap is not None and gap.start > offset else limit
        return Run(offset, bytes(self._output.get((job_id, rank), b"")[offset : offset + limit]))

    async def follow(self, job_id: str, rank: int, offset: int) -> AsyncIterator[Piece]:
        """All from ``offset`` on, until complete."""
        key = (job_id, rank)
        while True:
            run = await self.read(job_id, rank, offset, 100_000)
            if run.end > offset:
                yield Piece(rank, 1, run.offset, run.data, run.dropped, run.reason)
                offset = run.end
                continue
            if key in self._complete:
                return
            async with self._changed:
                await self._changed.wait_for(
                    lambda: key in self._complete or len(self._output.get(key, b"")) > offset  # noqa: B023
                )

    async def append(self, job_id: str, rank: int, data: bytes, complete: bool = False) -> None:
        """More output; ``complete``: the last of it."""
        async with self._changed:
            self._output.setdefault((job_id, rank), bytearray()).extend(data)
            if complete:
                self._complete.add((job_id, rank))
            self._changed.notify_all()


def gpu(index: int, name: str = "NVIDIA H100 80GB HBM3", **fields: object) -> Gpu:
    """A GPU whose every field is known, but for what ``fields`` say."""
    known = Gpu(
        uuid=f"GPU-{name[-4:]}-{index}".replace(" ", ""),
        index=index,
        name=name,
        memory_bytes=80 * GIB,
        compute_capability=(9, 0),
        pci_bus=f"0000:{index:02x}:00.0",
        power_limit_watts=700.0,
        utilization_percent=97.0,
        memory_used_bytes=61 * GIB,
        temperature_celsius=64.0,
        power_watts=612.0,
    )
    return replace(known, **fields)  # type: ignore[arg-type]


def host(number: int, name: str = "", state: HostState = HostState.ONLINE, gpus: tuple[Gpu, ...] = ()) -> HostView:
    """A host with 32 CPUs and 256 GiB; nothing of it is held."""
    hardware = Hardware(
        hostname=name or f"node-{number}",
        arch="x86_64",
        os="Debian GNU/Linux 12",
        kernel="6.1.0",
        cpu_model="AMD EPYC 9354",
        cpus=32,
        memory_bytes=256 * GIB,
        gpus=gpus,
        driver_version="570.86" if gpus else None,
        cuda_version="12.8" if gpus else None,
    )
    record = Host(
        id=host_id(number),
        name=name or f"node-{number}",
        facts=HostFacts(backend="rack", region="hall-1", price_per_hour=2.5, labels={"tier": "gold"}),
        joined_at=NOW,
        hardware=hardware,
        state=state,
        agent_version="0.1.0",
        last_seen_at=NOW,
    )
    return HostView(record, 0, 0, (), (), "", "")


def job(number: int, state: JobState = JobState.RUNNING, nodes: int = 4, **fields: object) -> JobView:
    """A job whose counts fit its state."""
    spec = JobSpec(nodes=nodes, placement=Placement.ANY, argv=("python", "train.py"), env={"SECRET": "hunter2"})
    record = Job(job_id(number), number, f"job-{number}", "ada", f"r-{number}", spec, NOW, state, started_at=NOW)
    where = {JobState.QUEUED: "pending", JobState.STARTING: "placed"}.get(state, state.value)
    record = replace(record, **fields)  # type: ignore[arg-type]
    return JobView(record, NodeCounts(**{where: nodes}), record.reason)


def node(of: JobView, rank: int, state: NodeState = NodeState.RUNNING, **fields: object) -> NodeView:
    """A node of a job."""
    record = Node(of.job.id, rank, state, 1, host_id(1), started_at=NOW)
    return NodeView(replace(record, **fields), "node-1")  # type: ignore[arg-type]
