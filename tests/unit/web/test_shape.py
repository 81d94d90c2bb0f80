"""The JSON shape says the same, under the same names, as the protocol's messages."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from rallypoint.v1 import types_pb2

from coordinator.core.model import Disk, Interface, NodeState, PeerEndpoint
from coordinator.core.spec import FileArchive, GpuRequest, Range, Resources
from coordinator.views import NetworkView
from coordinator.web import shape
from tests.fakes.reader import gpu, host, job, node


def _names(message: Any) -> set[str]:
    return {field.name for field in message.DESCRIPTOR.fields}


def test_field_names_are_those_of_the_protocol() -> None:
    view = host(1, gpus=(gpu(0),))
    assert view.host.hardware is not None
    hardware = replace(
        view.host.hardware,
        disks=(Disk("/", 10, 5),),
        interfaces=(Interface("eth0", ("10.0.0.1/24", "fe80::1/64"), 10_000),),
    )
    told = shape.host(replace(view, host=replace(view.host, hardware=hardware)))
    assert set(told) == _names(types_pb2.Host)
    assert set(told["facts"]) == _names(types_pb2.HostFacts)
    assert set(told["hardware"]) == _names(types_pb2.Hardware)
    assert set(told["hardware"]["gpus"][0]) == _names(types_pb2.Gpu)
    assert set(told["hardware"]["disks"][0]) == _names(types_pb2.Disk)
    assert set(told["hardware"]["interfaces"][0]) == _names(types_pb2.NetworkInterface)
    assert told["hardware"]["interfaces"][0]["addresses"][1] == {"ip": "fe80::1", "prefix_length": 64}
    assert set(shape.network(NetworkView("a", ("x",), ()))) == _names(types_pb2.Network)


def test_jobs_and_nodes_have_the_protocols_names_but_no_environment_values() -> None:
    view = job(1)
    spec = replace(
        view.job.spec,
        resources=Resources(gpu=GpuRequest(names=("H100",), count=Range(2, 2), min_compute_capability=(8, 9))),
        files=FileArchive("ab", 3),
    )
    told = shape.job(replace(view, job=replace(view.job, spec=spec)))
    assert set(told) == _names(types_pb2.Job)
    assert set(told["counts"]) == _names(types_pb2.NodeCounts)
    assert set(told["spec"]) == _names(types_pb2.JobSpec) - {"env"} | {"env_names"}
    assert set(told["spec"]["resources"]) == _names(types_pb2.Resources)
    assert set(told["spec"]["resources"]["gpu"]) == _names(types_pb2.GpuRequest)
    assert set(told["spec"]["files"]) == _names(types_pb2.FileArchive)
    assert told["spec"]["resources"]["gpu"]["min_compute_capability"] == 89
    assert told["spec"]["env_names"] == ["SECRET"]
    assert "hunter2" not in json.dumps(told)
    assert set(shape.node(node(view, 0, NodeState.RUNNING))) == _names(types_pb2.Node)


def test_unknown_is_null_and_never_zero() -> None:
    unknown = gpu(0, memory_bytes=None, utilization_percent=None, memory_used_bytes=None, temperature_celsius=None)
    told = shape.host(host(1, gpus=(unknown,)))["hardware"]["gpus"][0]
    for name in ("memory_bytes", "utilization_percent", "memory_used_bytes", "temperature_celsius"):
        assert told[name] is None


def test_a_host_whose_agent_never_called_has_no_hardware() -> None:
    view = host(1)
    told = shape.host(replace(view, host=replace(view.host, hardware=None)))
    assert told["hardware"] is None
    assert told["peer_endpoint"] == ""


def test_the_peer_endpoint_is_the_best_address() -> None:
    view = host(1)

    def endpoint(*addresses: str) -> Any:
        record = replace(view.host, peer=PeerEndpoint(addresses, 7000))
        return shape.host(replace(view, host=record))["peer_endpoint"]

    assert endpoint("10.0.0.4/24", "10.9.0.4/24") == "10.0.0.4:7000"
    assert endpoint("fd00::4") == "[fd00::4]:7000"
