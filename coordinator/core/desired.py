"""What one host is to be told about one allocation: everything it needs to prepare, start or stop it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from coordinator.core import links, preflight
from coordinator.core.ids import AllocationId, HostId
from coordinator.core.model import Allocation, Group, Host, Job, Phase
from coordinator.core.program import Program, program_of, resources_of
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

    ``program`` is what the node runs, if that is not just what the job says; only once it is to run. ``measures``: what
    it is to measure while it is prepared; the members that ``group_hosts`` tell of are then those of that order.
    """

    allocation: Allocation
    job: Job
    members: tuple[Member, ...] = ()
    group: Group | None = None
    group_hosts: tuple[GroupHost, ...] = ()
    program: Program | None = None
    measures: preflight.Order | None = None


def desired_of(state: State, allocation_id: AllocationId) -> Desired | None:
    """The order for an allocation; None when it is no longer held."""
    allocation = state.allocations.get(allocation_id)
    if allocation is None:
        return None
    job = state.jobs[allocation.job_id]
    gang = state.gangs.get(job.id)
    spare = is_spare(job.spec, allocation)
    if gang is None or (gang.generation != allocation.attempt and not spare):
        return Desired(allocation, job, program=_program(state, job, allocation, None))
    measures = None if spare else preflight.order_for(state, allocation)
    if measures is not None:
        # Without the members: it has probed them, and of a large group they are many.
        about = measures.group.members if measures.group is not None else (measures.peer,) if measures.peer else ()
        told = tuple(_group_host(state, member.host_id) for member in about)
        return Desired(allocation, job, group_hosts=told, measures=measures)
    if allocation.wanted is Phase.PREPARED:
        others = [state.allocations[a] for a in state.job_allocations[job.id] if a != allocation_id]
        members = [Member(state.hosts[o.host_id], o.rank) for o in others if o.host_id in state.hosts]
        return Desired(allocation, job, members=tuple(sorted(members, key=lambda member: member.rank)))
    if gang.group is None:
        return Desired(allocation, job)
    hosts = tuple(_group_host(state, member.host_id) for member in gang.group.members)
    program = _program(state, job, allocation, gang.group)
    return Desired(allocation, job, group=gang.group, group_hosts=hosts, program=program)


def _program(state: State, job: Job, allocation: Allocation, group: Group | None) -> Program | None:
    if allocation.wanted is not Phase.RUNNING:
        return None
    program = program_of(job, allocation, group)
    ports = [] if group is None else _rdma_ports(state, allocation.host_id, group)
    if not ports:
        return program
    # NCCL's word for exactly these, and not all whose names begin so.
    given = {"NCCL_IB_HCA": f"={','.join(ports)}"}
    if program is None:
        spec = job.spec
        return Program(spec.commands, spec.argv, spec.env, given, resources_of(spec, allocation.rank))
    return replace(program, given={**program.given, **given})


def _rdma_ports(state: State, host_id: HostId, group: Group) -> list[str]:
    """The host's ports of the link layer that all members have active ports of; none where there is no such layer."""
    members = [member.host_id for member in group.members]
    if len(members) < 2 or any(member not in state.links for member in members):
        return []
    layer = links.best_layer(links.common(state.links[member] for member in members))
    hardware = state.hosts[host_id].hardware
    ports = hardware.rdma if hardware is not None else ()
    return [f"{port.device}:{port.port}" for port in ports if port.active and port.link_layer == layer]


def _group_host(state: State, host_id: HostId) -> GroupHost:
    host = state.hosts.get(host_id)
    return GroupHost(host.name, host.peer.port) if host is not None else GroupHost(str(host_id), 0)
