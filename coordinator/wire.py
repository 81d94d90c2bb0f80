"""``JobSpec`` as the API carries it, both ways. What comes in is checked as a task file is: any client may send it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import TypeVar

from rallypoint.v1 import types_pb2 as pb

from coordinator.core.errors import Invalid
from coordinator.core.spec import (
    MAX_NODES,
    MAX_PRIORITY,
    MAX_REDUNDANCY,
    MAX_SPARES,
    DisconnectAction,
    FileArchive,
    GpuRequest,
    JobSpec,
    OnDisconnect,
    OnNodeFailure,
    Placement,
    Range,
    Resources,
    RetryEvent,
    RetryPolicy,
    Spread,
    StopCriteria,
)
from coordinator.spec import rules
from coordinator.spec.problems import Wrong

_PLACEMENTS = {
    pb.PLACEMENT_UNSPECIFIED: Placement.CLUSTER,
    pb.PLACEMENT_CLUSTER: Placement.CLUSTER,
    pb.PLACEMENT_ANY: Placement.ANY,
}
_STOP_CRITERIA = {
    pb.STOP_CRITERIA_UNSPECIFIED: StopCriteria.ALL_DONE,
    pb.STOP_CRITERIA_ALL_DONE: StopCriteria.ALL_DONE,
    pb.STOP_CRITERIA_MASTER_DONE: StopCriteria.MASTER_DONE,
}
_TO_PLACEMENT = {Placement.CLUSTER: pb.PLACEMENT_CLUSTER, Placement.ANY: pb.PLACEMENT_ANY}
_TO_STOP_CRITERIA = {
    StopCriteria.ALL_DONE: pb.STOP_CRITERIA_ALL_DONE,
    StopCriteria.MASTER_DONE: pb.STOP_CRITERIA_MASTER_DONE,
}
_EVENTS = {pb.RetryEvent.Value(f"RETRY_EVENT_{event.name}"): event for event in RetryEvent}
_ON_NODE_FAILURE = {pb.OnNodeFailure.Value(f"ON_NODE_FAILURE_{each.name}"): each for each in OnNodeFailure}
_ON_DISCONNECT = {pb.DisconnectAction.Value(f"DISCONNECT_ACTION_{each.name}"): each for each in DisconnectAction}
_SPREADS = {pb.Spread.Value(f"SPREAD_{each.name}"): each for each in Spread}
_TO_EVENT = {event: number for number, event in _EVENTS.items()}
_TO_ON_NODE_FAILURE = {each: number for number, each in _ON_NODE_FAILURE.items()}
_TO_ON_DISCONNECT = {each: number for number, each in _ON_DISCONNECT.items()}
_TO_SPREAD = {each: number for number, each in _SPREADS.items()}
K = TypeVar("K")
V = TypeVar("V")

_SHA256 = re.compile(r"[0-9a-f]{64}")
_MAX_SECONDS = 100 * 365 * 86400.0


# ---------------------------------------------------------------- out


def spec_to_pb(spec: JobSpec) -> pb.JobSpec:
    """The message for a specification."""
    message = pb.JobSpec(
        name=spec.name or "",
        nodes=spec.nodes,
        placement=_TO_PLACEMENT[spec.placement],
        commands=spec.commands,
        argv=spec.argv,
        shell=spec.shell or "",
        env=dict(spec.env),
        working_dir=spec.working_dir or "",
        resources=_resources_to_pb(spec.resources),
        max_duration_seconds=spec.max_duration,
        stop_duration_seconds=spec.stop_duration,
        stop_signal=spec.stop_signal or "",
        stop_criteria=_TO_STOP_CRITERIA[spec.stop_criteria],
        on_node_failure=_TO_ON_NODE_FAILURE[spec.on_node_failure],
        spread=_TO_SPREAD[spec.spread],
        priority=spec.priority,
        redundancy=spec.redundancy,
        spares=spec.spares,
        on_disconnect=pb.OnDisconnect(
            action=_TO_ON_DISCONNECT[spec.on_disconnect.action], after_seconds=spec.on_disconnect.after
        ),
    )
    if spec.retry is not None:
        message.retry.CopyFrom(_retry_to_pb(spec.retry))
    if spec.files is not None:
        message.files.CopyFrom(pb.FileArchive(sha256=spec.files.sha256, size_bytes=spec.files.size_bytes))
    return message


def _retry_to_pb(policy: RetryPolicy) -> pb.RetryPolicy:
    return pb.RetryPolicy(
        on_events=sorted(_TO_EVENT[event] for event in policy.on_events),
        duration_seconds=policy.duration,
        attempts=policy.attempts or 0,
    )


def _resources_to_pb(resources: Resources) -> pb.Resources:
    return pb.Resources(
        cpu_arch=resources.cpu_arch or "",
        cpus=_range_to_pb(resources.cpus),
        memory_bytes=_range_to_pb(resources.memory_bytes),
        disk_bytes=_range_to_pb(resources.disk_bytes),
        shm_bytes=resources.shm_bytes or 0,
        gpu=None if resources.gpu is None else _gpu_to_pb(resources.gpu),
    )


def _gpu_to_pb(gpu: GpuRequest) -> pb.GpuRequest:
    major, minor = gpu.min_compute_capability or (0, 0)
    return pb.GpuRequest(
        vendor=gpu.vendor or "",
        names=gpu.names,
        count=_range_to_pb(gpu.count),
        memory_bytes=_range_to_pb(gpu.memory_bytes),
        total_memory_bytes=_range_to_pb(gpu.total_memory_bytes),
        min_compute_capability=major * 10 + minor,
    )


def _range_to_pb(value: Range) -> pb.IntRange:
    return pb.IntRange(min=value.min, max=value.max)


# ---------------------------------------------------------------- in


def spec_from_pb(message: pb.JobSpec) -> JobSpec:
    """The specification in a message. Raises ``coordinator.core.errors.Invalid`` with what is wrong in it."""
    try:
        return _read(message)
    except Wrong as wrong:
        raise Invalid(str(wrong)) from None


def _read(message: pb.JobSpec) -> JobSpec:
    if not 1 <= message.nodes <= MAX_NODES:
        raise Wrong(f"nodes {message.nodes} can't be had; a job has 1 to {MAX_NODES} nodes; choose a number in between")
    if bool(message.commands) == bool(message.argv):
        raise Wrong("exactly one of commands and argv must be given; a job runs either a shell or a program; send one")
    _check_size(message)
    spec = JobSpec(
        name=rules.check_name(message.name) if message.name else None,
        nodes=message.nodes,
        placement=_enum("placement", message.placement, _PLACEMENTS),
        commands=tuple(rules.check_text("a command", command) for command in message.commands),
        argv=_argv(message),
        shell=rules.check_shell(message.shell) if message.shell else None,
        env=_env(message),
        working_dir=rules.check_text("working_dir", message.working_dir) or None,
        resources=_resources(message.resources),
        max_duration=_seconds(message, "max_duration_seconds", positive=True),
        stop_duration=_seconds(message, "stop_duration_seconds", positive=False),
        stop_signal=rules.check_signal(message.stop_signal) if message.stop_signal else None,
        stop_criteria=_enum("stop_criteria", message.stop_criteria, _STOP_CRITERIA),
        files=_archive(message.files) if message.HasField("files") else None,
        retry=_retry(message.retry) if message.HasField("retry") else None,
        on_node_failure=_enum("on_node_failure", message.on_node_failure, {0: OnNodeFailure.GO_ON, **_ON_NODE_FAILURE}),
        spread=_enum("spread", message.spread, {0: Spread.HOST, **_SPREADS}),
        priority=_at_most("priority", message.priority, MAX_PRIORITY),
        redundancy=max(1, _at_most("redundancy", message.redundancy, MAX_REDUNDANCY)),
        spares=_at_most("spares", message.spares, MAX_SPARES),
        on_disconnect=_on_disconnect(message.on_disconnect),
    )
    for _, problem in rules.misplaced(spec.placement, spec.on_node_failure, spec.redundancy, spec.spares):
        raise Wrong(problem)
    return spec


def _retry(message: pb.RetryPolicy) -> RetryPolicy:
    return RetryPolicy(
        on_events=frozenset(_enum("retry event", event, _EVENTS) for event in message.on_events),
        duration=_seconds(message, "duration_seconds", positive=True),
        attempts=message.attempts or None,
    )


def _on_disconnect(message: pb.OnDisconnect) -> OnDisconnect:
    action = _enum("on_disconnect", message.action, {0: DisconnectAction.STOP, **_ON_DISCONNECT})
    return OnDisconnect(action, _seconds(message, "after_seconds", positive=True))


def _at_most(what: str, value: int, most: int) -> int:
    if value > most:
        raise Wrong(f"{what} {value} is too high; it goes up to {most}; choose another")
    return value


def _check_size(message: pb.JobSpec) -> None:
    length = message.ByteSize()
    if length > rules.MAX_SPEC_BYTES:
        raise Wrong(
            f"the job's text has {length} bytes; at most {rules.MAX_SPEC_BYTES} are taken;"
            " put long scripts into files and send them with 'files'"
        )


def _enum(what: str, value: K, known: Mapping[K, V]) -> V:
    if value not in known:
        raise Wrong(f"{what} {value} is not known to this coordinator; it may be older than the client; upgrade it")
    return known[value]


def _argv(message: pb.JobSpec) -> tuple[str, ...]:
    argv = tuple(rules.check_text("an argument", argument) for argument in message.argv)
    if argv and not argv[0]:
        raise Wrong("argv begins with an empty text; the first argument is the program; name one")
    return argv


def _env(message: pb.JobSpec) -> MappingProxyType[str, str]:
    return MappingProxyType(
        {rules.check_env_key(key): rules.check_text(f"env {key}", value) for key, value in message.env.items()}
    )


def _seconds(message: pb.JobSpec | pb.RetryPolicy | pb.OnDisconnect, field: str, *, positive: bool) -> float | None:
    if not message.HasField(field):  # type: ignore[arg-type]
        return None
    value = float(getattr(message, field))
    if not math.isfinite(value) or value < 0 or value > _MAX_SECONDS or (positive and value == 0):
        least = "more than 0" if positive else "0 or more"
        raise Wrong(f"{field} {value} can't be used; it must be {least} and at most 100 years; choose another")
    return value


def _archive(message: pb.FileArchive) -> FileArchive:
    if not _SHA256.fullmatch(message.sha256) or message.size_bytes < 0:
        raise Wrong("files names no archive; it needs the sha256 and size that UploadArchive answered; upload it first")
    return FileArchive(message.sha256, message.size_bytes)


def _resources(message: pb.Resources) -> Resources:
    cpus = _range("cpus", message.cpus)
    if message.cpu_arch not in ("", "x86", "arm"):
        raise Wrong(f"cpu_arch {message.cpu_arch!r} is not known; it is x86 or arm; leave it empty for any")
    if message.shm_bytes < 0:
        raise Wrong(f"shm_bytes {message.shm_bytes} can't be had; it must be 0 or more; choose another")
    return Resources(
        cpu_arch=message.cpu_arch or None,
        # Nobody runs on no CPU, and an absent range asks for nothing special.
        cpus=Range(max(1, cpus.min or 0), None if cpus.max is None else max(1, cpus.max)),
        memory_bytes=_range("memory_bytes", message.memory_bytes),
        disk_bytes=_range("disk_bytes", message.disk_bytes),
        shm_bytes=message.shm_bytes or None,
        gpu=_gpu(message.gpu) if message.HasField("gpu") else None,
    )


def _gpu(message: pb.GpuRequest) -> GpuRequest:
    count = _range("gpu.count", message.count) if message.HasField("count") else Range(1, 1)
    if not count.min:
        raise Wrong("gpu.count begins at 0; a node holds the lower end; ask for 1 or more, or leave gpu out")
    capability = message.min_compute_capability
    return GpuRequest(
        vendor=_vendor(message.vendor),
        names=tuple(rules.check_text("a GPU's name", name) for name in message.names),
        count=count,
        memory_bytes=_range("gpu.memory_bytes", message.memory_bytes),
        total_memory_bytes=_range("gpu.total_memory_bytes", message.total_memory_bytes),
        min_compute_capability=divmod(capability, 10) if capability else None,
    )


def _vendor(vendor: str) -> str | None:
    if vendor and vendor not in rules.VENDORS.values():
        known = ", ".join(sorted(set(rules.VENDORS.values())))
        raise Wrong(f"gpu.vendor {vendor!r} is not known; known are {known}; leave it empty for any")
    return vendor or None


def _range(what: str, message: pb.IntRange) -> Range:
    found = Range(message.min if message.HasField("min") else None, message.max if message.HasField("max") else None)
    if (found.min or 0) < 0 or (found.max or 0) < 0:
        raise Wrong(f"{what} {found.text()} is below 0; amounts are 0 or more; choose another range")
    if found.min is not None and found.max is not None and found.min > found.max:
        raise Wrong(f"{what} {found.text()} is the wrong way round; the lower end comes first; turn it around")
    return found
