"""Snapshots of the engine as JSON values, under the field names of ``protos/rallypoint/v1/types.proto``.

Enumerations are lower-case words (``"running"``); what is unknown, not given or has not come to pass is null, never 0
or an empty text, as in the JSON of the commands. The values of a job's environment are left out, as they may be
secrets: ``env_names`` has their names.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from coordinator.core.evidence import Condition, Sign
from coordinator.core.hardware import Gpu, Hardware, Interface, UserPolicy
from coordinator.core.health_marks import standings
from coordinator.core.health_records import GpuHealth, HostEvent
from coordinator.core.measured import PreflightReport
from coordinator.core.model import Host, HostFacts
from coordinator.views import HostView, JobView, NetworkView, NodeView
from coordinator.web.spec_shape import Json, spec_shape, times_ten


def host(view: HostView) -> Json:
    """A ``Host``."""
    record: Host = view.host
    return _with_nulls(
        {
            "id": record.id,
            "name": record.name,
            "state": record.state.value,
            "facts": _facts(record.facts),
            "hardware": _hardware(record.hardware) if record.hardware else None,
            "cordoned": record.cordoned,
            "vacates_at": view.vacates_at,
            "cpus_used": view.cpus_used,
            "memory_used_bytes": view.memory_used_bytes,
            "gpu_uuids_used": list(view.gpus_used),
            "network": view.network,
            "warning": view.warning,
            "agent_version": record.agent_version,
            "agent_build": record.build or None,
            "allocations": list(view.allocations),
            "joined_at": record.joined_at,
            "last_seen_at": record.last_seen_at,
            "peer_endpoint": record.peer.text() or None,
            "round_trip_seconds": view.round_trip,
            "gpu_health": [_health(record) for record in standings(view.host, view.health)],
        }
    )


def _health(record: GpuHealth) -> Json:
    return {
        "gpu_uuid": record.gpu,
        "state": record.state.value,
        "reason": record.reason,
        "evidence": record.evidence,
        "changed_at": record.changed_at,
    }


def event(record: HostEvent) -> Json:
    """A ``HostEvent``."""
    return _with_nulls(
        {
            "number": record.number,
            "happened_at": record.at,
            "host_id": record.host_id,
            "host_name": record.host,
            "kind": record.kind,
            "text": record.text,
            "gpu_uuid": record.gpu,
            "evidence": record.evidence,
        }
    )


def network(view: NetworkView) -> Json:
    """A ``Network``."""
    return {"name": view.name or None, "host_names": list(view.host_names), "broken_links": list(view.broken_links)}


def job(view: JobView) -> Json:
    """A ``Job``."""
    record = view.job
    return _with_nulls(
        {
            "id": record.id,
            "name": record.name,
            "user": record.user,
            "state": record.state.value,
            "reason": view.reason,
            "exit_code": record.exit_code,
            "spec": spec_shape(record.spec.brief()),
            "counts": asdict(view.counts),
            "submitted_at": record.submitted_at,
            "started_at": record.started_at,
            "ended_at": record.ended_at,
            "spare_hosts": list(view.spare_hosts),
            "starts_at": record.starts_at,
            "spent": view.spent,
            "price_per_hour": view.price_per_hour,
            "preflight": None if record.preflight is None else _preflight(record.preflight),
        }
    )


def node(view: NodeView) -> Json:
    """A ``Node``."""
    record = view.node
    return _with_nulls(
        {
            "rank": record.rank,
            "state": record.state.value,
            "attempt": record.attempt,
            "host_id": record.host_id,
            "host_name": view.host_name,
            "exit_code": record.exit_code,
            "reason": record.reason,
            "gpu_uuids": list(record.gpus),
            "started_at": record.started_at,
            "ended_at": record.ended_at,
            "log_bytes": record.log_bytes,
            "log_dropped_bytes": view.log_dropped,
            "price_per_hour": view.price_per_hour,
            "parameters": dict(view.parameters),
            "last_line": view.last_line,
            "variant": record.variant,
            "group": view.group,
            "address": record.address,
            "last_attempt": record.last_attempt,
            "copies": [{**asdict(copy), "state": copy.state.value} for copy in view.copies],
        }
    )


def _preflight(report: PreflightReport) -> Json:
    return {
        "generation": report.generation,
        "ended_at": report.ended_at,
        "slow": list(report.slow),
        "blamed_hosts": list(report.blamed),
        "notes": list(report.notes),
        "bandwidth": report.bandwidth,
        "round_trip_seconds": report.latency,
        "all_reduce": report.all_reduce,
        "links": [
            {
                "source_host": link.source,
                "target_host": link.target,
                "bandwidth": link.bandwidth,
                "round_trip_seconds": link.latency,
                "problem": link.problem,
            }
            for link in report.links
        ],
        "devices": [
            {"host": each.host, "gpu_uuid": each.gpu, "name": each.name, "flops": each.flops} for each in report.devices
        ],
        "replaced": report.replaced,
    }


# Users' own words: an empty text is one there.
_MAPS = ("labels", "parameters")


def _with_nulls(record: Json) -> Json:
    return {name: value if name in _MAPS else _or_null(name, value) for name, value in record.items()}


def _or_null(name: str, value: Any) -> Any:
    if isinstance(value, dict):
        return _with_nulls(value)
    if isinstance(value, list):
        return [_with_nulls(each) if isinstance(each, dict) else each for each in value]
    return None if value == "" or (value == 0 and name.endswith("_at")) else value


def _facts(facts: HostFacts) -> Json:
    return {
        "backend": facts.backend,
        "region": facts.region,
        "network": facts.network,
        "price_per_hour": facts.price_per_hour,
        "labels": dict(facts.labels),
        "spot": facts.spot,
        "instance_type": facts.instance_type,
        "fleet": facts.fleet,
        "ephemeral": facts.ephemeral,
    }


def _hardware(hardware: Hardware) -> Json:
    return {
        "hostname": hardware.hostname,
        "arch": hardware.arch,
        "os": hardware.os,
        "kernel": hardware.kernel,
        "boot_id": hardware.boot_id,
        "machine_id": hardware.machine_id,
        "cpu_model": hardware.cpu_model,
        "cpus": hardware.cpus,
        "memory_bytes": hardware.memory_bytes,
        "memory_available_bytes": hardware.memory_available_bytes,
        "disks": [asdict(disk) for disk in hardware.disks],
        "interfaces": [_interface(interface) for interface in hardware.interfaces],
        "gpus": [_gpu(gpu) for gpu in hardware.gpus],
        "driver_version": hardware.driver_version,
        "cuda_version": hardware.cuda_version,
        "gpu_problem": hardware.gpu_problem,
        "isolation": hardware.isolation,
        "warnings": list(hardware.warnings),
        "disk_problem": hardware.disk_problem,
        "conditions": [_condition(condition) for condition in hardware.conditions],
        "rdma": [asdict(port) for port in hardware.rdma],
        "containers": {**asdict(hardware.containers), "limits": list(hardware.containers.limits)},
        "uv": hardware.uv,
        "looking": hardware.looking,
        "limits": None if hardware.limits is None else asdict(hardware.limits),
        "users": None if hardware.users is None else _users(hardware.users),
    }


def _users(policy: UserPolicy) -> Json:
    return {"default_user": policy.default, "allowed": list(policy.allowed), "reason": policy.reason}


def _interface(interface: Interface) -> Json:
    addresses = []
    for address in interface.addresses:
        ip, _, prefix = address.partition("/")
        addresses.append({"ip": ip, "prefix_length": int(prefix) if prefix.isdigit() else None})
    return {
        "name": interface.name,
        "addresses": addresses,
        "speed_mbps": interface.speed_mbps,
        "loopback": interface.loopback,
    }


def _condition(condition: Condition) -> Json:
    # What only evidence of a moment has is not known of what holds.
    nothing = {"gpu_uuid": None, "seconds_ago": 0.0, "allocation_id": None, "sequence": 0}
    sign = "unspecified" if condition.sign is Sign.OTHER else condition.sign.value
    return {**nothing, "sign": sign, "code": condition.code, "detail": condition.detail}


def _gpu(gpu: Gpu) -> Json:
    return {
        "uuid": gpu.uuid,
        "index": gpu.index,
        "name": gpu.name,
        "memory_bytes": gpu.memory_bytes,
        "compute_capability": times_ten(gpu.compute_capability),
        "pci_bus": gpu.pci_bus,
        "power_limit_watts": gpu.power_limit_watts,
        "utilization_percent": gpu.utilization_percent,
        "memory_used_bytes": gpu.memory_used_bytes,
        "temperature_celsius": gpu.temperature_celsius,
        "power_watts": gpu.power_watts,
        "problem": gpu.problem,
        "vendor": gpu.vendor,
        "parent": gpu.parent,
        "nvlinks": gpu.nvlinks,
        "conditions": [_condition(condition) for condition in gpu.conditions],
        "health_watched": gpu.watched,
    }
