"""A job's specification as JSON values, under the field names of ``types.proto``."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from coordinator.core.matrix import Matrix
from coordinator.core.spec import (
    GpuRequest,
    HostFilter,
    JobSpec,
    NodeGroup,
    PreflightPolicy,
    Range,
    RegistryAuth,
    Resources,
    RetryPolicy,
    UtilizationPolicy,
    Variant,
)

Json = dict[str, Any]


def spec_shape(spec: JobSpec) -> Json:
    """A ``JobSpec``. Values of environments are left out, as they may be secrets: ``env_names`` has their names."""
    return {
        "name": spec.name,
        "nodes": spec.nodes,
        "placement": spec.placement.value,
        "commands": list(spec.commands),
        "argv": list(spec.argv),
        "shell": spec.shell,
        "env_names": sorted(spec.env),
        "working_dir": spec.working_dir,
        "resources": _resources(spec.resources),
        "max_duration_seconds": spec.max_duration,
        "stop_duration_seconds": spec.stop_duration,
        "stop_signal": spec.stop_signal,
        "stop_criteria": spec.stop_criteria.value,
        "files": asdict(spec.files) if spec.files else None,
        "retry": _retry(spec.retry) if spec.retry else None,
        "on_node_failure": spec.on_node_failure.value,
        "spread": spec.spread.value,
        "priority": spec.priority,
        "redundancy": spec.redundancy,
        "spares": spec.spares,
        "on_disconnect": {
            "action": spec.on_disconnect.action.value,
            "after_seconds": spec.on_disconnect.after,
        },
        "where": _where(spec.where),
        "optimize": spec.optimize.value,
        "near": spec.near,
        "variants": [_variant(variant) for variant in spec.variants],
        "groups": [_group(group) for group in spec.groups],
        "startup_order": spec.startup_order.value,
        "matrix": None if spec.matrix is None else _matrix(spec.matrix),
        "max_running": spec.max_running or 0,
        "after": [{"job": each.job, "when": each.when.value} for each in spec.after],
        "schedule": spec.schedule,
        "preemptible": spec.preemptible,
        "budget": spec.budget,
        "utilization": None if spec.utilization is None else _utilization(spec.utilization),
        "image": spec.image,
        "registry_auth": None if spec.registry_auth is None else _registry_auth(spec.registry_auth),
        "entrypoint": spec.entrypoint,
        "privileged": spec.privileged,
        "python": spec.python,
        "user": spec.user,
        "preflight": None if spec.preflight is None else _preflight(spec.preflight),
    }


def _registry_auth(auth: RegistryAuth) -> Json:
    return {"username": auth.username, "password": "(hidden)"}


def _where(where: HostFilter) -> Json:
    return {
        "backends": list(where.backends),
        "regions": list(where.regions),
        "instance_types": list(where.instance_types),
        "fleets": list(where.fleets),
        "hosts": list(where.hosts),
        "labels": dict(where.labels),
        "max_price": where.max_price,
        "spot": where.spot.value,
    }


def _variant(variant: Variant) -> Json:
    return {
        "name": variant.name,
        "resources": _resources(variant.resources),
        "env_names": sorted(variant.env),
        "commands": list(variant.commands),
        "argv": list(variant.argv),
        "precision": variant.precision,
        "speed": variant.speed,
    }


def _group(group: NodeGroup) -> Json:
    return {
        "name": group.name,
        "nodes": group.nodes,
        "resources": _resources(group.resources),
        "env_names": sorted(group.env),
        "commands": list(group.commands),
    }


def _matrix(matrix: Matrix) -> Json:
    return {
        "axes": [{**asdict(axis), "values": list(axis.values)} for axis in matrix.axes],
        "excluded": [{"start": start, "stop": stop} for start, stop in matrix.excluded],
        "included": [{"values": dict(values)} for values in matrix.included],
        "source": matrix.source.value,
    }


def _utilization(policy: UtilizationPolicy) -> Json:
    return {"min_gpu_percent": policy.min_gpu_percent, "window_seconds": policy.window}


def _preflight(policy: PreflightPolicy) -> Json:
    return {
        "kind": policy.kind.value,
        "min_bandwidth": policy.min_bandwidth,
        "max_latency_seconds": policy.max_latency,
        "seconds": policy.seconds,
        "on_slow": policy.on_slow.value,
    }


def _retry(policy: RetryPolicy) -> Json:
    return {
        "on_events": sorted(event.value for event in policy.on_events),
        "duration_seconds": policy.duration,
        "attempts": policy.attempts or 0,
    }


def _resources(resources: Resources) -> Json:
    return {
        "cpu_arch": resources.cpu_arch,
        "cpus": _range(resources.cpus),
        "memory_bytes": _range(resources.memory_bytes),
        "disk_bytes": _range(resources.disk_bytes),
        "shm_bytes": resources.shm_bytes or 0,
        "gpu": _gpu_request(resources.gpu) if resources.gpu else None,
    }


def _gpu_request(gpu: GpuRequest) -> Json:
    return {
        "vendor": gpu.vendor,
        "names": list(gpu.names),
        "count": _range(gpu.count),
        "memory_bytes": _range(gpu.memory_bytes),
        "total_memory_bytes": _range(gpu.total_memory_bytes),
        "min_compute_capability": times_ten(gpu.min_compute_capability) or 0,
        "share": None if gpu.share is None else {"numerator": gpu.share[0], "denominator": gpu.share[1]},
    }


def _range(limits: Range) -> Json:
    return {"min": limits.min, "max": limits.max}


def times_ten(capability: tuple[int, int] | None) -> int | None:
    """A compute capability as one number: 8.9 is 89."""
    return None if capability is None else capability[0] * 10 + capability[1]
