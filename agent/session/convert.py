"""Between the protocol's messages and the agent's own records."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, cast

from rallypoint.v1 import agent_service_pb2 as pb
from rallypoint.v1 import types_pb2 as types

from agent.core.model import (
    AllocationId,
    Desired,
    DesiredUpdate,
    Distance,
    Group,
    GroupMember,
    Measured,
    Measurement,
    Member,
    Observed,
    Phase,
    Probe,
    Spec,
    Wanted,
)
from agent.spawner.wire import now
from agent.upgrade.trial import Order, Progress, Step

if TYPE_CHECKING:
    from collections.abc import Iterable

    from agent.containers.model import Runtime
    from agent.facts import HostFacts
    from agent.hardware import Gpu, HardwareReport, Interface, RdmaPort
    from agent.health.model import Evidence


_WANTED = frozenset(int(phase) for phase in Wanted)


_UPGRADE_STEP = {
    Step.INSTALLING: types.UPGRADE_STEP_INSTALLING,
    Step.RESTARTING: types.UPGRADE_STEP_RESTARTING,
    Step.DONE: types.UPGRADE_STEP_DONE,
    Step.ROLLED_BACK: types.UPGRADE_STEP_ROLLED_BACK,
    Step.FAILED: types.UPGRADE_STEP_FAILED,
}


def desired_update(message: pb.DesiredState) -> DesiredUpdate:
    """What came down the stream. Allocations of an unknown phase are of a newer protocol and left out."""
    known = (a for a in message.allocations if int(a.phase) in _WANTED)
    removed = tuple(AllocationId(key) for key in message.removed_allocation_ids)
    specs = {job: _spec(spec) for job, spec in message.specs.items()}
    return DesiredUpdate(message.complete, tuple(_desired(a, specs.get(a.job_id)) for a in known), removed)


def _desired(a: pb.DesiredAllocation, job_spec: Spec | None) -> Desired:
    spec = _spec(a.spec) if job_spec is None or a.HasField("spec") else job_spec
    return Desired(
        id=AllocationId(a.allocation_id),
        job_id=a.job_id,
        job_name=a.job_name,
        rank=a.rank,
        attempt=a.attempt,
        phase=Wanted(a.phase),
        spec=_adapted(spec, a.program) if a.HasField("program") else spec,
        started=a.started,
        gpu_uuids=tuple(a.gpu_uuids),
        members=members(a.members),
        group=_group(a.group) if a.HasField("group") else None,
        stop_reason=a.stop_reason,
        stop_grace=a.stop_grace_seconds,
        stop_signal=a.stop_signal,
        behind=AllocationId(a.behind_allocation_id) if a.behind_allocation_id else None,
        behind_seconds=a.behind_seconds,
        cpus=a.cpus,
        measures=_measurement(a.preflight) if a.HasField("preflight") else None,
    )


def _spec(s: types.JobSpec) -> Spec:
    return Spec(
        nodes=s.nodes,
        cluster=s.placement == types.PLACEMENT_CLUSTER,
        commands=tuple(s.commands),
        argv=tuple(s.argv),
        shell=s.shell,
        env=dict(s.env),
        working_dir=s.working_dir,
        max_duration=s.max_duration_seconds if s.HasField("max_duration_seconds") else None,
        stop_duration=s.stop_duration_seconds if s.HasField("stop_duration_seconds") else None,
        stop_signal=s.stop_signal,
        archive=s.files.sha256 if s.HasField("files") else "",
        # 0: not given, or of a node that wants none held for it.
        memory_limit=s.resources.memory_bytes.max or None,
        announces=s.startup_order in (types.STARTUP_ORDER_MASTER_FIRST, types.STARTUP_ORDER_WORKERS_FIRST),
        after=_after(s.on_disconnect),
        image=s.image,
        registry_user=s.registry_auth.username,
        registry_password=s.registry_auth.password,
        entrypoint=s.entrypoint,
        privileged=s.privileged,
        python=s.python,
        user=s.user,
        shm_bytes=s.resources.shm_bytes,
    )


def _adapted(spec: Spec, program: pb.Program) -> Spec:
    """What this node runs, where the job's nodes are not alike."""
    return replace(
        spec,
        commands=tuple(program.commands),
        argv=tuple(program.argv),
        env=dict(program.env),
        given=dict(program.given),
        memory_limit=program.memory_limit_bytes or None,
        shm_bytes=program.shm_bytes,
    )


def _after(rule: types.OnDisconnect) -> float | None:
    if rule.HasField("after_seconds"):
        return rule.after_seconds
    return None if rule.action == types.DISCONNECT_ACTION_KEEP else 0.0


def members(found: Iterable[pb.GangMember]) -> tuple[Member, ...]:
    """Hosts to probe."""
    return tuple(Member(m.host_id, m.host_name, m.rank, tuple(m.endpoint.addresses), m.endpoint.port) for m in found)


def _group(g: pb.Group) -> Group:
    return Group(g.generation, g.master_address, g.master_port, tuple(_group_member(m) for m in g.members))


def _group_member(m: pb.GroupMember) -> GroupMember:
    return GroupMember(m.rank, m.host_id, m.host_name, m.address, m.peer_port, m.slots, m.gpus)


def _measurement(order: pb.PreflightOrder) -> Measurement:
    return Measurement(
        number=order.number,
        seconds=order.seconds,
        address=order.address,
        peer=_group_member(order.peer) if order.HasField("peer") else None,
        calls=order.calls,
        group=_group(order.group) if order.HasField("group") else None,
    )


def _measured(found: Measured) -> pb.PreflightResult:
    pair = found.pair
    return pb.PreflightResult(
        number=found.number,
        problem=found.problem,
        round_trip_seconds=None if pair is None else pair.latency,
        sent=None if pair is None else pair.sent,
        received=None if pair is None else pair.received,
        devices=[pb.DeviceSpeed(gpu_uuid=each.gpu, name=each.name, flops=each.flops) for each in found.devices],
        all_reduce=found.all_reduce,
        unable=found.unable,
    )


def status(seen: Observed, at: float, wall: float, any_phase: Phase = Phase.PREPARING) -> pb.AllocationStatus:
    """One allocation for a report, with times as ages at ``at``; ``wall`` is for coordinators that want Unix seconds.

    ``STARTING`` is the agent's own: outside it is still what it was before.
    """
    phase = seen.phase
    if phase is Phase.STARTING:
        phase = Phase.PREPARED if seen.master_port else any_phase
    message = pb.AllocationStatus(
        allocation_id=seen.id,
        phase=cast("pb.ObservedPhase.ValueType", phase.value),
        cause=cast("pb.EndCause.ValueType", seen.cause.value),
        reason=seen.reason,
        log_bytes=seen.log_bytes,
        master_port=seen.master_port,
        ready=seen.ready,
        probes=[probe(result) for result in seen.probes],
    )
    if seen.measured is not None:
        message.preflight.CopyFrom(_measured(seen.measured))
    if seen.started_at:
        message.started_seconds_ago = max(0.0, at - seen.started_at)
        message.started_at = wall - message.started_seconds_ago
    if seen.ended_at:
        message.ended_seconds_ago = max(0.0, at - seen.ended_at)
        message.ended_at = wall - message.ended_seconds_ago
    if seen.exit_code is not None:
        message.exit_code = seen.exit_code
    return message


def probe(result: Probe) -> pb.ProbeResult:
    """One probe for a report."""
    return pb.ProbeResult(
        target_host_id=result.host_id,
        address=result.address,
        port=result.port,
        reached=result.reached,
        reason=result.reason,
        seconds=result.seconds,
    )


def distance(result: Distance) -> pb.DistanceResult:
    """How far one target is, for a report."""
    return pb.DistanceResult(target=result.target, seconds=result.seconds, reason=result.reason)


def upgrade_order(order: pb.UpgradeOrder) -> Order:
    """The coordinator's order to go over to its release."""
    return Order(order.number, order.version, order.sha256, order.size, order.seconds, order.trial_seconds)


def upgrade_status(progress: Progress) -> pb.UpgradeStatus:
    """How far this host is with it."""
    return pb.UpgradeStatus(number=progress.number, step=_UPGRADE_STEP[progress.step], reason=progress.reason)


def facts(given: HostFacts) -> types.HostFacts:
    """What the host's owner states."""
    message = types.HostFacts(
        backend=given.backend,
        region=given.region,
        network=given.network,
        labels=dict(given.labels),
        spot=given.spot,
        instance_type=given.instance_type,
        fleet=given.fleet,
        ephemeral=given.ephemeral,
    )
    if given.price_per_hour is not None:
        message.price_per_hour = given.price_per_hour
    return message


def hardware(report: HardwareReport, cpus: int | None = None) -> types.Hardware:
    """A hardware report; ``cpus`` is what the owner lets jobs use, if not all."""
    message = types.Hardware(
        hostname=report.hostname,
        arch=report.arch,
        os=report.os,
        kernel=report.kernel,
        boot_id=report.boot_id or "",
        machine_id=report.machine_id or "",
        cpu_model=report.cpu_model or "",
        cpus=cpus or report.cpu_count,
        memory_bytes=report.memory_bytes or 0,
        disks=[types.Disk(path=d.mount, total_bytes=d.total_bytes, free_bytes=d.free_bytes) for d in report.disks],
        interfaces=[_interface(interface) for interface in report.interfaces],
        gpus=[_gpu(gpu) for gpu in report.gpus],
        driver_version=report.driver_version or "",
        cuda_version=report.cuda_version or "",
        disk_problem=report.disk_problem,
        rdma=[_rdma(port) for port in report.rdma],
        conditions=[evidence(condition, now()) for condition in report.conditions],
    )
    if report.memory_available_bytes is not None:
        message.memory_available_bytes = report.memory_available_bytes
    if report.containers is not None:
        message.containers.CopyFrom(_containers(report.containers))
    message.uv, message.looking = report.uv, report.looking
    message.isolation = report.isolation
    for name, (by, unheld) in report.limits.items():
        getattr(message.limits, name).CopyFrom(types.NodeLimit(by=by, unheld=unheld))
    if report.users is not None:
        users = report.users
        message.users.CopyFrom(types.UserPolicy(default_user=users.default, allowed=users.allowed, reason=users.reason))
    message.warnings.extend(report.warnings)
    if report.gpu_problem is not None:
        message.gpu_problem = f"{report.gpu_problem.summary}; {report.gpu_problem.way_out}"
    return message


def evidence(seen: Evidence, at: float) -> types.HealthEvidence:
    """A sign of a GPU's health, in a message of the moment ``at``."""
    return types.HealthEvidence(
        gpu_uuid=seen.gpu_uuid,
        sign=cast("types.HealthSign.ValueType", seen.sign.value),
        code=seen.code,
        detail=seen.detail,
        seconds_ago=max(0.0, at - seen.at),
        allocation_id=seen.allocation,
        sequence=seen.sequence,
    )


def _containers(found: Runtime) -> types.Containers:
    return types.Containers(
        runtime=found.kind,
        version=found.version,
        rootless=found.rootless,
        gpus=found.gpus,
        privileged=found.privileged,
        limits=found.limits,
        problem=found.problem,
        gpu_problem=found.gpu_problem,
        only_user=found.only_user,
    )


def _interface(interface: Interface) -> types.NetworkInterface:
    addresses = [types.InterfaceAddress(ip=a.ip, prefix_length=a.prefix_len or 0) for a in interface.addresses]
    message = types.NetworkInterface(name=interface.name, addresses=addresses, loopback=interface.loopback)
    if interface.speed_mbps is not None:
        message.speed_mbps = interface.speed_mbps
    return message


def _rdma(port: RdmaPort) -> types.RdmaPort:
    return types.RdmaPort(
        device=port.device, port=port.port, state=port.state, link_layer=port.link_layer, rate_gbps=port.rate_gbps
    )


def _gpu(gpu: Gpu) -> types.Gpu:
    message = types.Gpu(
        uuid=gpu.uuid,
        index=gpu.index,
        name=gpu.name or "",
        pci_bus=gpu.pci_bus or "",
        vendor="nvidia",
        problem=gpu.problem.summary if gpu.problem is not None else "",
        parent=gpu.parent or "",
        nvlinks=gpu.nvlinks,
        conditions=[evidence(condition, now()) for condition in gpu.conditions],
        health_watched=gpu.health_watched,
    )
    if gpu.compute_capability is not None:
        major, minor = gpu.compute_capability
        message.compute_capability = major * 10 + minor
    for name, value in (
        ("memory_bytes", gpu.memory_bytes),
        ("power_limit_watts", gpu.power_limit_watts),
        ("utilization_percent", gpu.utilization_percent),
        ("memory_used_bytes", gpu.memory_used_bytes),
        ("temperature_celsius", gpu.temperature_c),
        ("power_watts", gpu.power_watts),
    ):
        if value is not None:
            setattr(message, name, value)
    return message
