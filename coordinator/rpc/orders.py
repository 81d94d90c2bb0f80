"""What goes down and up an agent's session, between the core's records and protobuf."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from rallypoint.v1 import agent_service_pb2 as pb
from rallypoint.v1 import types_pb2

from coordinator.core import model
from coordinator.core.backlog import PATIENCE
from coordinator.core.desired import Desired, GroupHost
from coordinator.core.events import AllocationStatus, UpgradeProgress
from coordinator.core.ids import AllocationId, HostId
from coordinator.core.preflight import Order
from coordinator.core.program import Program
from coordinator.core.rollout import Step
from coordinator.core.upgrades import UpgradeOrder
from coordinator.rpc.measured import answer_from_proto
from coordinator.wire import spec_to_pb

_PHASE = {
    model.Phase.PREPARED: pb.DESIRED_PHASE_PREPARED,
    model.Phase.RUNNING: pb.DESIRED_PHASE_RUNNING,
    model.Phase.STOPPING: pb.DESIRED_PHASE_STOPPED,
}
_OBSERVED = {
    pb.OBSERVED_PHASE_PREPARING: model.Phase.PREPARING,
    pb.OBSERVED_PHASE_PREPARED: model.Phase.PREPARED,
    pb.OBSERVED_PHASE_RUNNING: model.Phase.RUNNING,
    pb.OBSERVED_PHASE_STOPPING: model.Phase.STOPPING,
    pb.OBSERVED_PHASE_ENDED: model.Phase.ENDED,
}
_CAUSE = {
    pb.END_CAUSE_EXIT: model.EndCause.EXIT,
    pb.END_CAUSE_STOPPED: model.EndCause.STOPPED,
    pb.END_CAUSE_MAX_DURATION: model.EndCause.MAX_DURATION,
    pb.END_CAUSE_START_FAILED: model.EndCause.START_FAILED,
    pb.END_CAUSE_HOST: model.EndCause.HOST,
    pb.END_CAUSE_UNREACHABLE: model.EndCause.UNREACHABLE,
    pb.END_CAUSE_OUT_OF_MEMORY: model.EndCause.OUT_OF_MEMORY,
    pb.END_CAUSE_RETURNED: model.EndCause.RETURNED,
}

_STEP = {
    types_pb2.UPGRADE_STEP_INSTALLING: Step.INSTALLING,
    types_pb2.UPGRADE_STEP_RESTARTING: Step.RESTARTING,
    types_pb2.UPGRADE_STEP_DONE: Step.DONE,
    types_pb2.UPGRADE_STEP_ROLLED_BACK: Step.ROLLED_BACK,
    types_pb2.UPGRADE_STEP_FAILED: Step.FAILED,
}


# What a host is not told of a job: the other nodes' values and variants are none of a node's business, and may be many.
_UNTOLD: tuple[Literal["matrix", "variants", "groups", "where", "near", "after", "schedule", "budget"], ...] = (
    "matrix",
    "variants",
    "groups",
    "where",
    "near",
    "after",
    "schedule",
    "budget",
)
# So many jobs' specifications are kept converted: a thousand nodes of one job convert theirs once.
KEPT_SPECS = 256
# Of what an agent says about a target, so many characters are kept.
MAX_REASON = 200
MAX_UPGRADE_REASON = 1000


class SpecCache:
    """Specifications as protobuf, by job: a job's specification never changes."""

    def __init__(self) -> None:
        self._converted: dict[str, types_pb2.JobSpec] = {}

    def get(self, job: model.Job) -> types_pb2.JobSpec:
        """The job's specification, as far as a host has to know it."""
        message = self._converted.get(job.id)
        if message is None:
            if len(self._converted) >= KEPT_SPECS:
                del self._converted[next(iter(self._converted))]
            message = self._converted[job.id] = spec_to_pb(job.spec)
            for name in _UNTOLD:
                message.ClearField(name)
        return message


def orders_to_proto(orders: Iterable[Desired], specs: SpecCache, together: bool) -> pb.DesiredState:
    """Orders to a host; ``together``: each job's specification once, not with every allocation."""
    message = pb.DesiredState()
    for order in orders:
        sent = desired_to_proto(order, specs, not together)
        message.allocations.append(sent)
        if together and order.job.id not in message.specs:
            message.specs[order.job.id].CopyFrom(specs.get(order.job))
    return message


def desired_to_proto(desired: Desired, specs: SpecCache, whole: bool = True) -> pb.DesiredAllocation:
    """An order to a host; ``whole``: with the specification."""
    allocation, job = desired.allocation, desired.job
    message = pb.DesiredAllocation(
        allocation_id=allocation.id,
        job_id=job.id,
        rank=allocation.rank,
        attempt=allocation.attempt,
        phase=_PHASE[allocation.wanted],
        job_name=job.name,
        started=allocation.observed in (model.Phase.RUNNING, model.Phase.STOPPING),
        spec=specs.get(job) if whole else None,
        cpus=allocation.cpus,
        memory_bytes=allocation.memory_bytes,
        gpu_uuids=allocation.gpus,
        members=[member_to_proto(member.host, member.rank) for member in desired.members],
        stop_reason=allocation.stop_reason,
        stop_grace_seconds=allocation.stop_grace,
        stop_signal=allocation.stop_signal,
        behind_allocation_id=allocation.behind or "",
        behind_seconds=PATIENCE if allocation.behind else 0.0,
    )
    if desired.group is not None:
        message.group.CopyFrom(_group_to_proto(desired.group, desired.group_hosts))
    if desired.measures is not None:
        message.preflight.CopyFrom(_measures_to_proto(desired.measures, desired.group_hosts))
    if desired.program is not None:
        message.program.CopyFrom(_program_to_proto(desired.program))
    return message


def _program_to_proto(program: Program) -> pb.Program:
    return pb.Program(
        commands=program.commands,
        argv=program.argv,
        env=program.env,
        given=program.given,
        memory_limit_bytes=program.resources.memory_bytes.max or 0,
        shm_bytes=program.resources.shm_bytes or 0,
    )


def member_to_proto(host: model.Host, rank: int = 0) -> pb.GangMember:
    """A host to be probed."""
    endpoint = pb.PeerEndpoint(addresses=host.peer.addresses, port=host.peer.port)
    return pb.GangMember(host_id=host.id, host_name=host.name, rank=rank, endpoint=endpoint)


def _measures_to_proto(order: Order, hosts: Sequence[GroupHost]) -> pb.PreflightOrder:
    return pb.PreflightOrder(
        number=order.number,
        kind=types_pb2.PreflightKind.Value(f"PREFLIGHT_KIND_{order.kind.name}"),
        seconds=order.seconds,
        address=order.address,
        calls=order.calls,
        peer=None if order.peer is None else _group_member_to_proto(order.peer, hosts[0]),
        group=None if order.group is None else _group_to_proto(order.group, hosts),
    )


def _group_member_to_proto(member: model.GroupMember, host: GroupHost) -> pb.GroupMember:
    return pb.GroupMember(
        rank=member.rank,
        host_id=member.host_id,
        host_name=host.name,
        address=member.address,
        peer_port=host.peer_port,
        slots=member.slots,
        gpus=member.gpus,
    )


def _group_to_proto(group: model.Group, hosts: Sequence[GroupHost]) -> pb.Group:
    members = [_group_member_to_proto(member, host) for member, host in zip(group.members, hosts, strict=True)]
    return pb.Group(
        generation=group.generation,
        master_address=group.master_address,
        master_port=group.master_port,
        members=members,
    )


def statuses_from_proto(messages: Iterable[pb.AllocationStatus], wall: float) -> tuple[AllocationStatus, ...]:
    """What an agent saw, its times by our clock (``wall``, Unix seconds): hosts' may be days off.

    A phase that this coordinator does not know (a newer agent's) is left out.
    """
    return tuple(_status(message, wall) for message in messages if message.phase in _OBSERVED)


def _status(message: pb.AllocationStatus, wall: float) -> AllocationStatus:
    started_at, ended_at = message.started_at, message.ended_at
    # An agent of before gives no ages, and its own clock has to do.
    if message.HasField("started_seconds_ago"):
        started_at = wall - message.started_seconds_ago
    if message.HasField("ended_seconds_ago"):
        ended_at = wall - message.ended_seconds_ago
    return AllocationStatus(
        id=AllocationId(message.allocation_id),
        phase=_OBSERVED[message.phase],
        exit_code=message.exit_code if message.HasField("exit_code") else None,
        cause=_CAUSE.get(message.cause),
        reason=message.reason,
        started_at=started_at,
        ended_at=ended_at,
        log_bytes=message.log_bytes,
        master_port=message.master_port,
        ready=message.ready,
        answer=answer_from_proto(message.preflight) if message.HasField("preflight") else None,
    )


def probes_from_proto(source: HostId, messages: Iterable[pb.ProbeResult]) -> tuple[model.Reach, ...]:
    """Whom an agent got through to."""
    return tuple(
        model.Reach(
            source=source,
            target=HostId(message.target_host_id),
            address=message.address,
            port=message.port,
            reached=message.reached,
            reason=message.reason,
            seconds=message.seconds,
        )
        for message in messages
    )


def all_probes(source: HostId, report: pb.ReportRequest) -> tuple[model.Reach, ...]:
    """The outcomes of ordered probes and of those that preparing members made."""
    found = probes_from_proto(source, report.probes)
    for status in report.statuses:
        found += probes_from_proto(source, status.probes)
    return found


def distances_from_proto(host_id: HostId, messages: Iterable[pb.DistanceResult]) -> tuple[model.Distance, ...]:
    """How far an agent found targets to be."""
    return tuple(_distance(host_id, message) for message in messages)


def _distance(host_id: HostId, message: pb.DistanceResult) -> model.Distance:
    seconds = message.seconds if message.HasField("seconds") else None
    return model.Distance(host_id, message.target, seconds, message.reason[:MAX_REASON])


def upgrade_to_proto(order: UpgradeOrder) -> pb.UpgradeOrder:
    """What a host is told of a roll-out."""
    return pb.UpgradeOrder(
        number=order.rollout.number,
        version=order.rollout.version,
        sha256=order.rollout.sha256,
        size=order.rollout.size,
        seconds=order.seconds,
        trial_seconds=order.trial,
    )


def upgrade_from_proto(status: pb.UpgradeStatus) -> UpgradeProgress | None:
    """How far a host is; None for a step that it can't be at, or that this release does not know."""
    step = _STEP.get(status.step)
    return None if step is None else UpgradeProgress(status.number, step, status.reason[:MAX_UPGRADE_REASON])
