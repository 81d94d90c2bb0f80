"""What one node needs of its host, as the API carries it, both ways."""

from __future__ import annotations

from rallypoint.v1 import types_pb2 as pb

from coordinator.core.spec import GpuRequest, Range, Resources
from coordinator.spec import rules
from coordinator.spec.problems import Wrong
from coordinator.wire.checks import range_of


def resources_to_pb(resources: Resources) -> pb.Resources:
    """The message for a node's resources."""
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
        share=None if gpu.share is None else pb.Share(numerator=gpu.share[0], denominator=gpu.share[1]),
    )


def _range_to_pb(value: Range) -> pb.IntRange:
    return pb.IntRange(min=value.min, max=value.max)


def resources_from_pb(message: pb.Resources) -> Resources:
    """The resources in a message. Raises ``Wrong``."""
    cpus = range_of("cpus", message.cpus)
    if message.cpu_arch not in ("", "x86", "arm"):
        raise Wrong(f"cpu_arch {message.cpu_arch!r} is not known; it is x86 or arm; leave it empty for any")
    if message.shm_bytes < 0:
        raise Wrong(f"shm_bytes {message.shm_bytes} can't be had; it must be 0 or more; choose another")
    return Resources(
        cpu_arch=message.cpu_arch or None,
        # Nobody runs on no CPU, and an absent range asks for nothing special.
        cpus=Range(max(1, cpus.min or 0), None if cpus.max is None else max(1, cpus.max)),
        memory_bytes=range_of("memory_bytes", message.memory_bytes),
        disk_bytes=range_of("disk_bytes", message.disk_bytes),
        shm_bytes=message.shm_bytes or None,
        gpu=_gpu(message.gpu) if message.HasField("gpu") else None,
    )


def _gpu(message: pb.GpuRequest) -> GpuRequest:
    count = range_of("gpu.count", message.count) if message.HasField("count") else Range(1, 1)
    if not count.min:
        raise Wrong("gpu.count begins at 0; a node holds the lower end; ask for 1 or more, or leave gpu out")
    capability = message.min_compute_capability
    return GpuRequest(
        vendor=_vendor(message.vendor),
        names=tuple(rules.check_text("a GPU's name", name) for name in message.names),
        count=count,
        memory_bytes=range_of("gpu.memory_bytes", message.memory_bytes),
        total_memory_bytes=range_of("gpu.total_memory_bytes", message.total_memory_bytes),
        min_compute_capability=divmod(capability, 10) if capability else None,
        share=_share(message.share, count) if message.HasField("share") else None,
    )


def _share(message: pb.Share, count: Range) -> tuple[int, int]:
    part = (message.numerator, message.denominator)
    rules.check_share(*part)
    if count.min != 1:
        raise Wrong("a share is of one GPU, and gpu.count is not 1; leave one of them out")
    return part


def _vendor(vendor: str) -> str | None:
    if vendor and vendor not in rules.VENDORS.values():
        known = ", ".join(sorted(set(rules.VENDORS.values())))
        raise Wrong(f"gpu.vendor {vendor!r} is not known; known are {known}; leave it empty for any")
    return vendor or None
