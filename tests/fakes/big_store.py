"""A database as a large cluster leaves it: many hosts, many live nodes, and the history that is kept."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from coordinator.core.changes import AllocationReserved, GangUpdated, HostUpdated, JobCreated, NodeUpdated
from coordinator.core.hardware import Hardware, Interface
from coordinator.core.ids import allocation_id, host_id, job_id
from coordinator.core.model import (
    Allocation,
    Gang,
    GangPhase,
    Group,
    GroupMember,
    Host,
    HostFacts,
    HostState,
    Job,
    JobState,
    Node,
    NodeState,
    PeerEndpoint,
    Phase,
)
from coordinator.core.spec import JobSpec, Placement
from coordinator.store import StoredChange
from coordinator.store.sql import SqlStore

NODES_A_JOB = 100
GIB = 1 << 30
# One job in so many is a group.
_GROUPS = 5
_COMMIT = 5000


def fill(data_dir: Path, hosts: int, nodes: int, ended: int) -> None:
    """Add hosts h-1 to h-``hosts`` with ``nodes`` running nodes spread over them, and ``ended`` jobs of one node."""
    store = SqlStore(data_dir)
    changes: list[StoredChange] = []
    for change in (*_hosts(hosts), *_ended(ended), *_running(hosts, nodes, ended)):
        changes.append(change)
        if len(changes) == _COMMIT:
            store.commit(changes)
            changes.clear()
    store.commit(changes)
    store.close()


def _hosts(count: int) -> Iterator[StoredChange]:
    for number in range(1, count + 1):
        name = f"h-{number}"
        hardware = Hardware(
            hostname=name,
            arch="x86_64",
            cpus=1000,
            memory_bytes=1000 * GIB,
            interfaces=(Interface("eth0", (f"10.0.{number // 250}.{number % 250}/16",), 10_000, False),),
        )
        yield HostUpdated(
            Host(
                host_id(number),
                name,
                HostFacts(backend="fleet"),
                joined_at=time.time(),
                machine_id=name,
                hardware=hardware,
                peer=PeerEndpoint(("127.0.0.1",), 7433),
                state=HostState.ONLINE,
                epoch=1,
                last_seen_at=time.time(),
            )
        )


def _job(number: int, spec: JobSpec, state: JobState) -> Job:
    began = time.time() - 60
    return Job(
        job_id(number),
        number,
        f"job-{number}",
        "admin",
        f"request-{number}",
        spec,
        submitted_at=began,
        state=state,
        generation=int(spec.placement is Placement.CLUSTER),
        started_at=began,
        ended_at=began + 1 if state.ended else 0.0,
    )


def _ended(count: int) -> Iterator[StoredChange]:
    for number in range(1, count + 1):
        job = _job(number, JobSpec(argv=("true",), placement=Placement.ANY), JobState.DONE)
        yield JobCreated(job)
        yield NodeUpdated(Node(job.id, 0, NodeState.DONE, 1, host_id(1), 0, started_at=1.0, ended_at=2.0))


def _running(hosts: int, nodes: int, after: int) -> Iterator[StoredChange]:
    placed = 0
    for index in range(-(-nodes // NODES_A_JOB)):
        size = min(NODES_A_JOB, nodes - placed)
        grouped = index % _GROUPS == 0 and size <= hosts
        placement = Placement.CLUSTER if grouped else Placement.ANY
        spec = JobSpec(argv=("sleep", "600"), nodes=size, placement=placement, env={"SEED": "7", "MODE": "bench"})
        job = _job(after + index + 1, spec, JobState.RUNNING)
        yield JobCreated(job)
        members = []
        for rank in range(size):
            held = _held(job, rank, 1 + (placed + rank) % hosts, grouped)
            yield AllocationReserved(held)
            yield NodeUpdated(Node(job.id, rank, NodeState.RUNNING, 1, held.host_id, started_at=held.started_at))
            members.append(GroupMember(rank, held.host_id, "127.0.0.1", 1))
        if grouped:
            group = Group(1, "127.0.0.1", 29500, tuple(members))
            yield GangUpdated(Gang(job.id, 1, GangPhase.RUNNING, group=group))
        placed += size


def _held(job: Job, rank: int, host: int, grouped: bool) -> Allocation:
    return Allocation(
        allocation_id(job.id, rank, 1),
        job.id,
        rank,
        1,
        host_id(host),
        cpus=1,
        memory_bytes=GIB,
        gpus=(),
        wanted=Phase.RUNNING,
        observed=Phase.RUNNING,
        started_at=time.time() - 60,
        address="127.0.0.1" if grouped else "",
        master_port=29500 if grouped else 0,
    )
