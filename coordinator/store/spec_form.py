"""The JSON form of a job's specification."""

from __future__ import annotations

from coordinator.core.matrix import Axis, Matrix, MatrixSource
from coordinator.core.spec import (
    AfterWhen,
    Dependency,
    DisconnectAction,
    FileArchive,
    GpuRequest,
    HostFilter,
    JobSpec,
    NodeGroup,
    OnDisconnect,
    OnNodeFailure,
    OnSlow,
    Optimize,
    Placement,
    PreflightKind,
    PreflightPolicy,
    Range,
    RegistryAuth,
    Resources,
    RetryEvent,
    RetryPolicy,
    SpotPolicy,
    Spread,
    StartupOrder,
    StopCriteria,
    UtilizationPolicy,
    Variant,
)
from coordinator.store.forms import PLAIN, TEXT_MAP, TUPLE, Form, Shape, choice

_RANGE = Shape(Range, {"min": PLAIN, "max": PLAIN})

_GPU_REQUEST = Shape(
    GpuRequest,
    {
        "vendor": PLAIN,
        "names": TUPLE,
        "count": _RANGE.one,
        "memory_bytes": _RANGE.one,
        "total_memory_bytes": _RANGE.one,
        "min_compute_capability": TUPLE,
        "share": TUPLE,
    },
)

_RESOURCES = Shape(
    Resources,
    {
        "cpu_arch": PLAIN,
        "cpus": _RANGE.one,
        "memory_bytes": _RANGE.one,
        "disk_bytes": _RANGE.one,
        "shm_bytes": PLAIN,
        "gpu": _GPU_REQUEST.one,
    },
)

_FILES = Shape(FileArchive, {"sha256": PLAIN, "size_bytes": PLAIN})

_EVENTS = Form(
    lambda events: sorted(event.value for event in events),
    lambda names: frozenset(RetryEvent(name) for name in names),
)
_RETRY = Shape(RetryPolicy, {"on_events": _EVENTS, "duration": PLAIN, "attempts": PLAIN})

_ON_DISCONNECT = Shape(OnDisconnect, {"action": choice(DisconnectAction), "after": PLAIN})

_WHERE = Shape(
    HostFilter,
    {
        "backends": TUPLE,
        "regions": TUPLE,
        "instance_types": TUPLE,
        "fleets": TUPLE,
        "hosts": TUPLE,
        "labels": TEXT_MAP,
        "max_price": PLAIN,
        "spot": choice(SpotPolicy),
    },
)

_VARIANT = Shape(
    Variant,
    {
        "name": PLAIN,
        "resources": _RESOURCES.one,
        "env": TEXT_MAP,
        "commands": TUPLE,
        "argv": TUPLE,
        "precision": PLAIN,
        "speed": PLAIN,
    },
)

_GROUP = Shape(
    NodeGroup, {"name": PLAIN, "nodes": PLAIN, "resources": _RESOURCES.one, "env": TEXT_MAP, "commands": TUPLE}
)

_AXIS = Shape(Axis, {"name": PLAIN, "values": TUPLE, "first": PLAIN, "last": PLAIN, "step": PLAIN})
_MATRIX = Shape(
    Matrix,
    {
        "axes": _AXIS.many,
        "excluded": Form(lambda spans: [list(span) for span in spans], lambda docs: tuple(tuple(d) for d in docs)),
        "included": Form(lambda sets: [dict(each) for each in sets], lambda docs: tuple(dict(d) for d in docs)),
        "source": choice(MatrixSource),
    },
)

_DEPENDENCY = Shape(Dependency, {"job": PLAIN, "when": choice(AfterWhen)})
_UTILIZATION = Shape(UtilizationPolicy, {"min_gpu_percent": PLAIN, "window": PLAIN})
_PREFLIGHT = Shape(
    PreflightPolicy,
    {
        "kind": choice(PreflightKind),
        "min_bandwidth": PLAIN,
        "max_latency": PLAIN,
        "seconds": PLAIN,
        "on_slow": choice(OnSlow),
    },
)

_REGISTRY_AUTH = Shape(RegistryAuth, {"username": PLAIN, "password": PLAIN})

SPEC = Shape(
    JobSpec,
    {
        "name": PLAIN,
        "nodes": PLAIN,
        "placement": choice(Placement),
        "commands": TUPLE,
        "argv": TUPLE,
        "shell": PLAIN,
        "env": TEXT_MAP,
        "working_dir": PLAIN,
        "resources": _RESOURCES.one,
        "max_duration": PLAIN,
        "stop_duration": PLAIN,
        "stop_signal": PLAIN,
        "stop_criteria": choice(StopCriteria),
        "files": _FILES.one,
        "retry": _RETRY.one,
        "on_node_failure": choice(OnNodeFailure),
        "spread": choice(Spread),
        "priority": PLAIN,
        "redundancy": PLAIN,
        "spares": PLAIN,
        "on_disconnect": _ON_DISCONNECT.one,
        "where": _WHERE.one,
        "optimize": choice(Optimize),
        "near": PLAIN,
        "variants": _VARIANT.many,
        "groups": _GROUP.many,
        "startup_order": choice(StartupOrder),
        "matrix": _MATRIX.one,
        "max_running": PLAIN,
        "after": _DEPENDENCY.many,
        "schedule": PLAIN,
        "preemptible": PLAIN,
        "budget": PLAIN,
        "utilization": _UTILIZATION.one,
        "image": PLAIN,
        "registry_auth": _REGISTRY_AUTH.one,
        "entrypoint": PLAIN,
        "privileged": PLAIN,
        "python": PLAIN,
        "user": PLAIN,
        "preflight": _PREFLIGHT.one,
    },
)
