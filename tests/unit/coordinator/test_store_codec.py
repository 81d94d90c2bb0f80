"""The stored JSON: it keeps its names, forgives what other releases wrote, and says what it can't read."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coordinator.core.hardware import Disk, Gpu, Hardware, Interface
from coordinator.core.ids import HostId
from coordinator.core.model import Group, GroupMember, HostFacts, PeerEndpoint
from coordinator.core.spec import FileArchive, GpuRequest, JobSpec, Placement, Range, Resources, StopCriteria
from coordinator.store import StoreError, StoreTooNew
from coordinator.store.codec import FACTS, GROUP, HARDWARE, PEER
from coordinator.store.forms import Shape
from coordinator.store.spec_form import SPEC
from tests.contract.records import record

SHAPES: list[Shape[Any]] = [SPEC, FACTS, HARDWARE, PEER, GROUP]

# Written by the first release. Never change a line of it: databases out there hold such text.
FIRST_SPEC = """
{"format": 1, "name": "train", "nodes": 4, "placement": "any", "commands": ["a", "b"], "argv": [], "shell": "/bin/sh",
 "env": {"K": "v"}, "working_dir": "/w", "resources": {"cpu_arch": "x86_64", "cpus": {"min": 2, "max": null},
 "memory_bytes": {"min": null, "max": null}, "disk_bytes": {"min": 1, "max": 9}, "shm_bytes": 5, "gpu": {"vendor":
 "nvidia", "names": ["H100"], "count": {"min": 1, "max": 2}, "memory_bytes": {"min": 4, "max": null},
 "total_memory_bytes": {"min": null, "max": null}, "min_compute_capability": [9, 0]}}, "max_duration": 60.5,
 "stop_duration": null, "stop_signal": "INT", "stop_criteria": "master-done",
 "files": {"sha256": "ab", "size_bytes": 7}}
"""
FIRST_HARDWARE = """
{"format": 1, "hostname": "alpha", "arch": "x86_64", "os": "Debian", "kernel": "6", "boot_id": "b", "machine_id": "m",
 "cpu_model": "c", "cpus": 8, "memory_bytes": 1, "memory_available_bytes": null, "disks": [{"path": "/", "total_bytes":
 2, "free_bytes": 1}], "interfaces": [{"name": "eth0", "addresses": ["10.0.0.1/24"], "speed_mbps": null, "loopback":
 false}], "gpus": [{"uuid": "GPU-1", "index": 0, "name": "H100", "vendor": "nvidia", "memory_bytes": 80,
 "compute_capability": [9, 0], "pci_bus": null, "power_limit_watts": 700.0, "utilization_percent": null,
 "memory_used_bytes": null, "temperature_celsius": null, "power_watts": null, "problem": "fell off the bus"}],
 "driver_version": "570", "cuda_version": "13.0", "gpu_problem": null}
"""


def test_what_the_first_release_wrote_is_read_today() -> None:
    assert SPEC.loads(FIRST_SPEC) == JobSpec(
        name="train",
        nodes=4,
        placement=Placement.ANY,
        commands=("a", "b"),
        shell="/bin/sh",
        env={"K": "v"},
        working_dir="/w",
        resources=Resources(
            cpu_arch="x86_64",
            cpus=Range(2, None),
            disk_bytes=Range(1, 9),
            shm_bytes=5,
            gpu=GpuRequest("nvidia", ("H100",), Range(1, 2), Range(4, None), min_compute_capability=(9, 0)),
        ),
        max_duration=60.5,
        stop_signal="INT",
        stop_criteria=StopCriteria.MASTER_DONE,
        files=FileArchive("ab", 7),
    )
    gpu = Gpu(
        "GPU-1",
        0,
        "H100",
        memory_bytes=80,
        compute_capability=(9, 0),
        power_limit_watts=700.0,
        problem="fell off the bus",
    )
    assert HARDWARE.loads(FIRST_HARDWARE) == Hardware(
        hostname="alpha",
        arch="x86_64",
        os="Debian",
        kernel="6",
        boot_id="b",
        machine_id="m",
        cpu_model="c",
        cpus=8,
        memory_bytes=1,
        disks=(Disk("/", 2, 1),),
        interfaces=(Interface("eth0", ("10.0.0.1/24",)),),
        gpus=(gpu,),
        driver_version="570",
        cuda_version="13.0",
    )


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.make.__name__)
def test_every_field_of_a_record_is_stored(shape: Shape[Any]) -> None:
    assert set(shape.fields) == {field.name for field in fields(shape.make)}


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.make.__name__)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_a_record_is_read_back_as_it_was(shape: Shape[Any], data: st.DataObject) -> None:
    drawn = data.draw(record(shape.make))
    assert shape.loads(shape.dumps(drawn)) == drawn


def test_missing_keys_take_the_defaults_and_unknown_ones_are_passed_over() -> None:
    assert SPEC.loads("{}") == JobSpec()
    assert SPEC.loads('{"nodes": 2, "resources": {"colour": "red"}, "future": [1]}') == JobSpec(nodes=2)
    assert FACTS.loads('{"format": 1, "labels": {"a": "b"}}') == HostFacts(labels={"a": "b"})
    assert PEER.loads("{}") == PeerEndpoint()


def test_a_group_keeps_its_members_in_order() -> None:
    members = tuple(GroupMember(rank, HostId("h-1"), f"10.0.0.{rank}", 1) for rank in range(3))
    group = Group(2, "10.0.0.1", 2222, members)
    assert GROUP.loads(GROUP.dumps(group)) == group


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"placement": "moon"}', '{"files": {}}', '{"resources": 3}', '{"format": "x"}']
)
def test_text_that_is_no_record_is_told_as_such(text: str) -> None:
    with pytest.raises(StoreError, match=r"a stored JobSpec can't be read \(.*\); restore a backup"):
        SPEC.loads(text)


def test_a_later_format_is_refused() -> None:
    text = json.dumps({**json.loads(SPEC.dumps(JobSpec())), "format": 2})
    with pytest.raises(StoreTooNew, match="a stored JobSpec has format 2, this release knows 1; run a newer release"):
        SPEC.loads(text)
