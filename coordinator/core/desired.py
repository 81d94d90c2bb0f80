"""What one host is to be told about one allocation: everything it needs to prepare, start or stop it."""

from __future__ import annotations

from dataclasses import dataclass

from coordinator.core.ids import AllocationId, HostId
from coordinator.core.model import Allocation, Group, Host, Job, Phase
from coordinator.core.program import Program, program_of
from coordinator.core.spares import is_spare
from coordinator.core.state import State


@dataclass(frozen=True, slots=True)
class Member:
    """Another member of a gang, to be probed."""

    host: Host
    rank: int


@dataclass(frozen=True, slots=True)
class GroupHost:
    """Who a member of a formed group is, and where its agent answers."""

    name: str
    peer_port: int


@dataclass(frozen=True, slots=True)
class Desired:
    """A complete order. ``members`` only while preparing, ``group`` only once it is formed; never for ``any``.

    ``program`` is what the node runs, if that is not just what the job says; only once it is to run.
    """

    allocation: Allocation
    job: Job
    members: tuple[Member, ...] = ()
    group: Group | None = None
    group_hosts: tuple[GroupHost, ...] = ()
    program: Program | None = None


def desired_of(state: State, allocation_id: AllocationId) -> Desired | None:
    """The order for an allocation; None when it is no longer held."""
    allocation = state.allocations.get(allocation_id)
    if allocation is None:
        return None
    job = state.jobs[allocation.job_id]
    gang = state.gangs.get(job.id)
    spare = is_spare(job.spec, allocation)
    if gang is None or (gang.generation != allocation.attempt and not spare):
        return Desired(allocation, job, program=_program(job, allocation, None))
    if allocation.wanted is Phase.PREPARED:
        others = [state.allocations[a] for a in state.job_allocations[job.id] if a != allocation_id]
        members = [Member(state.hosts[o.host_id], o.rank) for o in others if o.host_id in state.hosts]
        return Desired(allocation, job, members=tuple(sorted(members, key=lambda member: member.rank)))
    if gang.group is None:
        return Desired(allocation, job)
    hosts = tuple(_group_host(state, member.host_id) for member in gang.group.members)
    program = _program(job, allocation, gang.group)
    return Desired(allocation, job, group=gang.group, group_hosts=hosts, program=program)


def _program(job: Job, allocation: Allocation, group: Group | None) -> Program | None:
    return program_of(job, allocation, group) if allocation.wanted is Phase.RUNNING else None


def _group_host(state: State, host_id: HostId) -> GroupHost:
    host = state.hosts.get(host_id)
    return GroupHost(host.name, host.peer.port) if host is not None else GroupHost(str(host_id), 0)
