"""The JSON shape says the same, under the same names, as the protocol's messages."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from rallypoint.v1 import types_pb2

from coordinator.cli import words
from coordinator.cli.shape import plain
from coordinator.core.evidence import Condition, Sign
from coordinator.core.hardware import Disk, Interface, RdmaPort
from coordinator.core.health_records import GpuHealth, Health, HostEvent, HostHealth
from coordinator.core.matrix import Axis, Matrix
from coordinator.core.measured import Device, Link, PreflightReport
from coordinator.core.model import NodeState, PeerEndpoint
from coordinator.core.spec import FileArchive, GpuRequest, NodeGroup, Placement, Range, RegistryAuth, Resources, Variant
from coordinator.rpc.convert import HIDDEN, host_to_proto, job_to_proto, network_to_proto, node_to_proto
from coordinator.rpc.events import event_to_proto
from coordinator.views import NetworkView
from coordinator.web import shape
from tests.fakes.reader import NOW, gpu, host, job, node


def _names(message: Any) -> set[str]:
    return {field.name for field in message.DESCRIPTOR.fields}


def test_field_names_are_those_of_the_protocol() -> None:
    view = host(1, gpus=(gpu(0),))
    assert view.host.hardware is not None
    hardware = replace(
        view.host.hardware,
        disks=(Disk("/", 10, 5),),
        interfaces=(Interface("eth0", ("10.0.0.1/24", "fe80::1/64"), 10_000),),
        rdma=(RdmaPort("mlx5_0", 1, "ACTIVE", "InfiniBand", 200.0),),
    )
    told = shape.host(replace(view, host=replace(view.host, hardware=hardware)))
    assert set(told) == _names(types_pb2.Host)
    assert set(told["facts"]) == _names(types_pb2.HostFacts)
    assert set(told["hardware"]) == _names(types_pb2.Hardware)
    assert set(told["hardware"]["gpus"][0]) == _names(types_pb2.Gpu)
    assert set(told["hardware"]["rdma"][0]) == _names(types_pb2.RdmaPort)
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


def _strictly(document: Any) -> str:
    return json.dumps(document, sort_keys=True, indent=1)


def test_the_commands_json_and_the_pages_json_are_one() -> None:
    unknown = gpu(0, memory_bytes=None, utilization_percent=None, pci_bus=None, compute_capability=None)
    bare = host(2)
    assert bare.host.hardware is not None
    facts = replace(bare.host.facts, network=None, labels={"empty": "", "a": "b"})
    bad = Condition(Sign.REMAP_FAILED, 1, "one bank")
    sick = host(1, gpus=(gpu(0, conditions=(bad, Condition(Sign.OTHER)), watched=True), gpu(1)))
    record = GpuHealth(gpu(0).uuid, Health.QUARANTINED, "it is old", "seen", NOW, conditions=(bad,))
    hosts = [
        host(1, gpus=(gpu(0), unknown)),
        replace(sick, health=HostHealth(sick.host.id, gpus=(GpuHealth("", Health.SUSPECT, "no driver"), record))),
        replace(bare, network="", host=replace(bare.host, facts=facts, peer=PeerEndpoint((), 0))),
        replace(bare, host=replace(bare.host, hardware=None)),
    ]
    for each in hosts:
        assert _strictly(plain(host_to_proto(each))) == _strictly(shape.host(each))
    view = job(1)
    spec = replace(view.job.spec, env={}, shell=None, commands=("", "true"), files=FileArchive("ab", 3))
    gpus = Resources(gpu=GpuRequest(names=("H100",), count=Range(2, 2), min_compute_capability=(8, 9)))
    auth = RegistryAuth("me", "hunter2")
    for each in (spec, replace(spec, resources=gpus), replace(spec, image="alpine", registry_auth=auth)):
        shown = replace(view, job=replace(view.job, spec=each))
        said = plain(job_to_proto(shown))
        said["spec"]["env_names"] = sorted(said["spec"].pop("env"))
        assert _strictly(said) == _strictly(shape.job(shown))
    for state in NodeState:
        each_node = node(view, 0, state)
        assert _strictly(plain(node_to_proto(each_node))) == _strictly(shape.node(each_node))
    event = HostEvent(7, NOW, host(1).host.id, "node-1", "health", "GPU 0: healthy -> suspect")
    assert _strictly(plain(event_to_proto(event))) == _strictly(shape.event(event))
    seen = NetworkView("", ("x", ""), ())
    assert _strictly(plain(network_to_proto(seen))) == _strictly(shape.network(seen))


def test_who_looks_at_jobs_sees_no_secret_and_no_thousands_of_lines() -> None:
    view = job(1)
    spec = replace(view.job.spec, placement=Placement.ANY, variants=(Variant("v", env={"SECRET": "hunter2"}),))
    spec = replace(spec, matrix=Matrix((Axis("line", tuple(map(str, range(1000)))),)))
    shown = replace(view, job=replace(view.job, spec=spec))
    said, told = job_to_proto(shown), shape.job(shown)
    assert said.spec.variants[0].env == {"SECRET": HIDDEN}
    assert (said.spec.matrix.axes[0].values[999], told["spec"]["matrix"]["axes"][0]["values"][999]) == ("999", "999")
    assert "hunter2" not in json.dumps(told)

    longer = Matrix((Axis("line", tuple(map(str, range(1001)))),))
    wider = Matrix((Axis("line", ("x" * 50_001,)),))
    for matrix in (longer, wider):
        shown = replace(view, job=replace(view.job, spec=replace(spec, matrix=matrix)))
        assert not job_to_proto(shown).spec.HasField("matrix")
        assert shape.job(shown)["spec"]["matrix"] is None


def test_a_groups_variables_are_hidden() -> None:
    view = job(1)
    shown = replace(view, job=replace(view.job, spec=replace(view.job.spec, groups=(NodeGroup("g", env={"A": "b"}),))))
    assert job_to_proto(shown).spec.groups[0].env == {"A": HIDDEN}
    assert shape.job(shown)["spec"]["groups"][0]["env_names"] == ["A"]


def test_nothing_is_said_with_an_empty_text_or_a_zero() -> None:
    told = plain(types_pb2.Job(id="j-1"))
    assert (told["reason"], told["started_at"], told["spec"], told["exit_code"]) == (None, None, None, None)
    told = plain(types_pb2.Hardware(gpus=[types_pb2.Gpu(uuid="a")]))
    assert (told["cuda_version"], told["gpus"][0]["problem"], told["gpus"][0]["index"]) == (None, None, 0)


def test_a_host_whose_agent_never_called_has_no_hardware() -> None:
    view = host(1)
    told = shape.host(replace(view, host=replace(view.host, hardware=None)))
    assert told["hardware"] is None
    assert told["peer_endpoint"] is None


def test_the_peer_endpoint_is_the_best_address() -> None:
    view = host(1)

    def endpoint(*addresses: str) -> Any:
        record = replace(view.host, peer=PeerEndpoint(addresses, 7000))
        return shape.host(replace(view, host=record))["peer_endpoint"]

    assert endpoint("10.0.0.4", "10.9.0.4") == "10.0.0.4:7000"
    assert endpoint("fd00::4") == "[fd00::4]:7000"


def test_what_a_group_measured_is_told_alike_by_the_commands_and_the_page() -> None:
    link = Link("gpu-3", "gpu-7", 9e8, None, "timed out")
    device = Device("gpu-7", "", "", 6e10)
    report = PreflightReport(2, 1.5, ("slow",), ("gpu-7",), ("note",), 9.4e9, 0.0002, 8e11, (link,), (device,), 1)
    for each in (report, PreflightReport(1, 1.0)):
        shown = replace(job(1), job=replace(job(1).job, preflight=each))
        told = shape.job(shown)["preflight"]
        assert set(told) == _names(types_pb2.PreflightReport)
        assert _strictly(plain(job_to_proto(shown))["preflight"]) == _strictly(told)
    assert words.preflight(job_to_proto(replace(job(1), job=replace(job(1).job, preflight=report))).preflight) == (
        "1 link, the median 9.4 Gbit/s and 0.2 ms, all-reduce 800 Gbit/s, 1 slow"
    )
