"""The JSON form of what has no flat columns: hosts' facts and hardware, groups. Specifications: see ``spec_form``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType

from coordinator.core.evidence import Condition, Sign
from coordinator.core.hardware import (
    Containers,
    Disk,
    Gpu,
    Hardware,
    Interface,
    NodeLimit,
    NodeLimits,
    RdmaPort,
    UserPolicy,
)
from coordinator.core.health_records import GpuHealth, Health, HostHealth, Strike
from coordinator.core.measured import Device, Link, PreflightReport
from coordinator.core.model import Group, GroupMember, HostFacts, PeerEndpoint
from coordinator.store.forms import PLAIN, TEXT_MAP, TUPLE, Shape, choice

FACTS = Shape(
    HostFacts,
    {
        "backend": PLAIN,
        "region": PLAIN,
        "network": PLAIN,
        "price_per_hour": PLAIN,
        "labels": TEXT_MAP,
        "spot": PLAIN,
        "instance_type": PLAIN,
        "fleet": PLAIN,
        "ephemeral": PLAIN,
    },
)

_CONDITION = Shape(Condition, {"sign": choice(Sign), "code": PLAIN, "detail": PLAIN})
_GPU = Shape(
    Gpu,
    {
        "uuid": PLAIN,
        "index": PLAIN,
        "name": PLAIN,
        "vendor": PLAIN,
        "memory_bytes": PLAIN,
        "compute_capability": TUPLE,
        "pci_bus": PLAIN,
        "power_limit_watts": PLAIN,
        "utilization_percent": PLAIN,
        "memory_used_bytes": PLAIN,
        "temperature_celsius": PLAIN,
        "power_watts": PLAIN,
        "problem": PLAIN,
        "parent": PLAIN,
        "nvlinks": PLAIN,
        "conditions": _CONDITION.many,
        "watched": PLAIN,
        "fenced": PLAIN,
    },
)

_DISK = Shape(Disk, {"path": PLAIN, "total_bytes": PLAIN, "free_bytes": PLAIN})
_INTERFACE = Shape(Interface, {"name": PLAIN, "addresses": TUPLE, "speed_mbps": PLAIN, "loopback": PLAIN})
_RDMA = Shape(RdmaPort, {"device": PLAIN, "port": PLAIN, "state": PLAIN, "link_layer": PLAIN, "rate_gbps": PLAIN})
_CONTAINERS = Shape(
    Containers,
    {
        "runtime": PLAIN,
        "version": PLAIN,
        "rootless": PLAIN,
        "gpus": PLAIN,
        "privileged": PLAIN,
        "limits": TUPLE,
        "problem": PLAIN,
        "gpu_problem": PLAIN,
        "only_user": PLAIN,
    },
)

_LIMIT = Shape(NodeLimit, {"by": PLAIN, "unheld": PLAIN})
_LIMITS = Shape(NodeLimits, {"cpu": _LIMIT.one, "memory": _LIMIT.one, "pids": _LIMIT.one, "shm": _LIMIT.one})
_USERS = Shape(UserPolicy, {"default": PLAIN, "allowed": TUPLE, "reason": PLAIN})

HARDWARE = Shape(
    Hardware,
    {
        "hostname": PLAIN,
        "arch": PLAIN,
        "os": PLAIN,
        "kernel": PLAIN,
        "boot_id": PLAIN,
        "machine_id": PLAIN,
        "cpu_model": PLAIN,
        "cpus": PLAIN,
        "memory_bytes": PLAIN,
        "memory_available_bytes": PLAIN,
        "disks": _DISK.many,
        "interfaces": _INTERFACE.many,
        "gpus": _GPU.many,
        "driver_version": PLAIN,
        "cuda_version": PLAIN,
        "gpu_problem": PLAIN,
        "isolation": PLAIN,
        "warnings": TUPLE,
        "disk_problem": PLAIN,
        "rdma": _RDMA.many,
        "conditions": _CONDITION.many,
        "containers": _CONTAINERS.one,
        "uv": PLAIN,
        "looking": PLAIN,
        "limits": _LIMITS.one,
        "users": _USERS.one,
    },
)

_STRIKE = Shape(Strike, {"what": PLAIN, "job": PLAIN, "user": PLAIN, "seen_since": PLAIN})
_GPU_HEALTH = Shape(
    GpuHealth,
    {
        "gpu": PLAIN,
        "state": choice(Health),
        "reason": PLAIN,
        "evidence": PLAIN,
        "changed_at": PLAIN,
        "since": PLAIN,
        "seen_since": PLAIN,
        "strikes": _STRIKE.many,
        "conditions": _CONDITION.many,
        "failures": PLAIN,
        "test_since": PLAIN,
        "test": PLAIN,
        "awaited": TUPLE,
        "resumes": choice(Health),
        "held_back": PLAIN,
        "manual": PLAIN,
        "fault_since": PLAIN,
        "fault_reason": PLAIN,
    },
)
HEALTH = Shape(
    HostHealth,
    {"host_id": PLAIN, "sequence": PLAIN, "tests": PLAIN, "fenced_since": PLAIN, "gpus": _GPU_HEALTH.many},
)

PEER = Shape(PeerEndpoint, {"addresses": TUPLE, "port": PLAIN})

_MEMBER = Shape(GroupMember, {"rank": PLAIN, "host_id": PLAIN, "address": PLAIN, "slots": PLAIN, "gpus": PLAIN})
GROUP = Shape(Group, {"generation": PLAIN, "master_address": PLAIN, "master_port": PLAIN, "members": _MEMBER.many})

_LINK = Shape(Link, {"source": PLAIN, "target": PLAIN, "bandwidth": PLAIN, "latency": PLAIN, "problem": PLAIN})
_DEVICE = Shape(Device, {"host": PLAIN, "gpu": PLAIN, "name": PLAIN, "flops": PLAIN})
PREFLIGHT = Shape(
    PreflightReport,
    {
        "generation": PLAIN,
        "ended_at": PLAIN,
        "slow": TUPLE,
        "blamed": TUPLE,
        "notes": TUPLE,
        "bandwidth": PLAIN,
        "latency": PLAIN,
        "all_reduce": PLAIN,
        "links": _LINK.many,
        "devices": _DEVICE.many,
        "replaced": PLAIN,
    },
)


def texts_to_column(texts: tuple[str, ...]) -> str:
    """A tuple of texts as JSON; the empty one, which most rows hold, as an empty text."""
    return json.dumps(texts) if texts else ""


def texts_from_column(column: str) -> tuple[str, ...]:
    """Read what ``texts_to_column`` wrote."""
    return tuple(json.loads(column)) if column else ()


def map_to_column(texts: Mapping[str, str]) -> str:
    """A map of texts as JSON."""
    return json.dumps(dict(texts))


def map_from_column(column: str) -> Mapping[str, str]:
    """Read what ``map_to_column`` wrote."""
    return MappingProxyType(dict(json.loads(column)))
