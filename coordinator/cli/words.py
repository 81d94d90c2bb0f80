"""How things are written for people: states, counts, sizes, ages, prices."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from rallypoint.v1 import types_pb2 as pb

from coordinator.core.words import bits, cents, format_duration, milliseconds

_GIB = 1024**3
_KINDS = ("running", "stopping", "placed", "pending", "done", "failed", "stopped")


def job_state(job: pb.Job) -> str:
    """``running``."""
    return _state(pb.JobState.Name(job.state), "JOB_STATE_")


def node_state(node: pb.Node | pb.NodeCopy) -> str:
    """``running``."""
    return _state(pb.NodeState.Name(node.state), "NODE_STATE_")


def host_state(host: pb.Host) -> str:
    """``online``, ``online,cordoned`` or ``online,draining``."""
    state = _state(pb.HostState.Name(host.state), "HOST_STATE_")
    if host.vacates_at:
        return f"{state},draining" if host.allocations else f"{state},drained"
    return f"{state},cordoned" if host.cordoned else state


def upgrade_step(host: pb.HostUpgrade) -> str:
    """``installing``, ``rolled-back``."""
    return _state(pb.UpgradeStep.Name(host.step), "UPGRADE_STEP_").replace("_", "-")


def _state(name: str, prefix: str) -> str:
    return name.removeprefix(prefix).lower()


def counts(job: pb.Job) -> str:
    """``2 running, 1 pending``: kinds of which there are none are left out."""
    found = [f"{amount} {kind}" for kind in _KINDS if (amount := getattr(job.counts, kind))]
    return ", ".join(found) or f"{job.spec.nodes} pending"


def spares(wanted: int, ready: Sequence[str]) -> str:
    """``1 of 2: gpu-7``; empty for a job that wants none."""
    return f"{len(ready)} of {wanted}" + (f": {', '.join(ready)}" if ready else "") if wanted else ""


def age(since: float, until: float = 0.0) -> str:
    """Time from one Unix second to another (0: now); empty when the first has not come."""
    return format_duration((until or time.time()) - since) if since else ""


def span(seconds: float) -> str:
    """``2h30m``."""
    return format_duration(seconds)


def moment(unix_seconds: float) -> str:
    """``2026-11-24 02:00 UTC``; empty for 0."""
    return f"{datetime.fromtimestamp(unix_seconds, UTC):%Y-%m-%d %H:%M} UTC" if unix_seconds else ""


def second(unix_seconds: float) -> str:
    """``2026-11-24 02:00:13 UTC``."""
    return f"{datetime.fromtimestamp(unix_seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"


def gpu_health(health: pb.GpuHealth) -> str:
    """``quarantined``."""
    return _state(pb.GpuHealthState.Name(health.state), "GPU_HEALTH_STATE_")


def size(amount: int) -> str:
    """Bytes as people say them: ``512MB``, ``80GB``, ``1.5GB``."""
    if amount < _GIB:
        return f"{amount / 1024**2:.0f}MB"
    return f"{amount / _GIB:.1f}".removesuffix(".0") + "GB"


def money(usd: float) -> str:
    """``$12.34``; less than ten cents with as many digits as that needs."""
    return f"${cents(usd)}"


def price(an_hour: float) -> str:
    """``$2.49/h``."""
    return f"${an_hour:.2f}/h" if an_hour >= 0.1 or an_hour == 0 else f"${an_hour:.4f}/h"


def round_trip(seconds: float) -> str:
    """``0.3ms``, ``42ms``."""
    return f"{seconds * 1000:.1f}ms" if seconds < 0.01 else f"{seconds * 1000:.0f}ms"


def gpus(host: pb.Host) -> str:
    """``8×H100 (3 used)``: GPUs by name; those that can't be used are named as such."""
    if not host.hardware.gpus:
        return f"? ({host.hardware.gpu_problem})" if host.hardware.gpu_problem else ""
    names = Counter(gpu.name or "unknown GPU" for gpu in host.hardware.gpus)
    notes = [f"{len(host.gpu_uuids_used)} used"] if host.gpu_uuids_used else []
    if broken := sum(1 for gpu in host.hardware.gpus if gpu.problem):
        notes.append(f"{broken} unusable")
    text = ", ".join(f"{count}×{name}" for name, count in names.items())
    return f"{text} ({', '.join(notes)})" if notes else text


def unheld(hardware: pb.Hardware) -> str:
    """``cpu, shm``: the limits that nothing holds nodes to on this host."""
    limits = ((name.name, getattr(hardware.limits, name.name)) for name in hardware.limits.DESCRIPTOR.fields)
    return ", ".join(name for name, limit in limits if limit.unheld)


def ranks(numbers: Iterable[int]) -> str:
    """``0-3,7``."""
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and parts[-1][1] == number - 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in parts)


def preflight(report: pb.PreflightReport) -> str:
    """``6 links, the median 9.4 Gbit/s and 0.2 ms, 8 GPUs, all-reduce 80 Gbit/s``: what a group measured."""
    median = [bits(report.bandwidth)] if report.HasField("bandwidth") else []
    median += [milliseconds(report.round_trip_seconds)] if report.HasField("round_trip_seconds") else []
    several = "" if len(report.links) == 1 else "s"
    links = f"{len(report.links)} link{several}" + (f", the median {' and '.join(median)}" if median else "")
    gpus = sum(bool(device.gpu_uuid) for device in report.devices)
    parts = [links if report.links else "", f"{gpus} GPUs" if gpus else ""]
    parts += [f"all-reduce {bits(report.all_reduce)}"] if report.HasField("all_reduce") else []
    parts += [f"{len(report.slow)} slow"] if report.slow else []
    return ", ".join(part for part in parts if part) or "nothing to measure"
