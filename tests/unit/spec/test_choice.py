"""Which hosts a task asks for, and what runs on which of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from coordinator.core.spec import (
    GpuRequest,
    HostFilter,
    NodeGroup,
    OnSlow,
    Optimize,
    Placement,
    PreflightKind,
    PreflightPolicy,
    Range,
    Resources,
    SpotPolicy,
    StartupOrder,
    UtilizationPolicy,
    Variant,
)
from coordinator.spec.problems import SpecError
from coordinator.spec.task import Options, load_task
from tests.unit.spec.support import problems_of, spec_of, typed, typed_problems

pytestmark = pytest.mark.timeout(30)

GIB = 2**30


def test_hosts_are_chosen_by_what_they_are(tmp_path: Path) -> None:
    spec = spec_of(
        tmp_path,
        "backends: [aws, lambda]\nregions: eu-west-1\ninstance_types: [p4d.24xlarge]\nfleets: [lab]\n"
        "hosts: [gpu-*, big-?]\nlabels: {zone: b, disk: 012}\nmax_price: 2.5\nspot_policy: on-demand\n",
    )
    assert spec.where == HostFilter(
        backends=("aws", "lambda"),
        regions=("eu-west-1",),
        instance_types=("p4d.24xlarge",),
        fleets=("lab",),
        hosts=("gpu-*", "big-?"),
        labels={"zone": "b", "disk": "012"},
        max_price=2.5,
        spot=SpotPolicy.ON_DEMAND,
    )


def test_without_a_choice_every_host_will_do(tmp_path: Path) -> None:
    assert spec_of(tmp_path, "").where == HostFilter()


@pytest.mark.parametrize("text", ["50", "50 USD", "$50", "50.00usd", "'50 $'"])
def test_money(tmp_path: Path, text: str) -> None:
    assert spec_of(tmp_path, f"budget: {text}\n").budget == 50.0


def test_optimize_near_priority_preemptible(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, "optimize: latency\nnear: https://data.example.org/set\npriority: 7\npreemptible: true\n")
    assert (spec.optimize, spec.near) == (Optimize.LATENCY, "https://data.example.org/set")
    assert (spec.priority, spec.preemptible) == (7, True)


def test_preflight(tmp_path: Path) -> None:
    assert spec_of(tmp_path, "preflight: network\n").preflight == PreflightPolicy()
    assert spec_of(tmp_path, "preflight: off\n").preflight is None
    body = "preflight: {kind: collectives, min_bandwidth: 10Gbps, max_latency: 1ms, seconds: 0.5, on_slow: fail}\n"
    asked = PreflightPolicy(PreflightKind.COLLECTIVES, 10e9, 0.001, 0.5, OnSlow.FAIL)
    assert spec_of(tmp_path, body).preflight == asked
    other = "preflight:\n  min_bandwidth: 900 Mbit/s\n  max_latency: 250us\n  seconds: 500ms\n"
    assert spec_of(tmp_path, other).preflight == PreflightPolicy(
        min_bandwidth=9e8, max_latency=pytest.approx(0.00025), seconds=0.5
    )


def test_utilization_policy(tmp_path: Path) -> None:
    body = "resources: {gpu: 1}\nutilization_policy:\n  min_gpu_utilization: 10\n  time_window: 1h\n"
    assert spec_of(tmp_path, body).utilization == UtilizationPolicy(10.0, 3600.0)


@pytest.mark.parametrize("gpu", ["A100:1/2", "{name: A100, share: 1/2}", "{name: [A100], share: 1/2, count: 1}"])
def test_a_share_of_a_gpu(tmp_path: Path, gpu: str) -> None:
    assert spec_of(tmp_path, f"resources: {{gpu: {gpu!r}}}\n".replace("'{", "{").replace("}'", "}")).resources.gpu == (
        GpuRequest(names=("A100",), share=(1, 2))
    )


def test_variants_take_from_the_job_what_they_do_not_say(tmp_path: Path) -> None:
    spec = spec_of(
        tmp_path,
        "placement: any\nnodes: 8\nenv: {A: 1}\nresources: {cpu: 4, memory: 16GB, gpu: 1}\nvariants:\n"
        "- name: fp8\n  precision: fp8\n  speed: 2.5\n  resources: {gpu: 'H100:2'}\n  env: [MODE=fp8, TOKEN]\n"
        "- resources: {gpu: 0, cpu: 16}\n  commands: [run-slowly]\n",
        TOKEN="secret",
    )
    memory = Range(16 * GIB, 16 * GIB)
    assert spec.variants == (
        Variant(
            "fp8",
            Resources(cpus=Range(4, None), memory_bytes=memory, gpu=GpuRequest(names=("H100",), count=Range(2, 2))),
            env={"MODE": "fp8", "TOKEN": "secret"},
            precision="fp8",
            speed=2.5,
        ),
        Variant("variant-2", Resources(cpus=Range(16, None), memory_bytes=memory), env={}, commands=("run-slowly",)),
    )


def test_groups_add_up_to_the_nodes(tmp_path: Path) -> None:
    spec = spec_of(
        tmp_path,
        "startup_order: master-first\nresources: {memory: 1GB}\ngroups:\n- name: server\n  commands: [serve]\n"
        "- nodes: 3\n  resources: {gpu: 1}\n  env: {SERVER: '${{ groups[0].nodes[0].IP_ADDRESS }}'}\n",
    )
    assert (spec.nodes, spec.placement, spec.startup_order) == (4, Placement.CLUSTER, StartupOrder.MASTER_FIRST)
    memory = Range(GIB, GIB)
    assert spec.groups == (
        NodeGroup("server", 1, Resources(memory_bytes=memory), env={}, commands=("serve",)),
        NodeGroup(
            "group-1",
            3,
            Resources(memory_bytes=memory, gpu=GpuRequest()),
            env={"SERVER": "${{ groups[0].nodes[0].IP_ADDRESS }}"},
        ),
    )


def test_commands_may_stand_in_every_part_instead(tmp_path: Path) -> None:
    file = tmp_path / "job.yml"
    file.write_text("type: task\ngroups:\n- {name: a, commands: [x]}\n- {name: b, commands: [y]}\n")
    assert [group.commands for group in load_task(file, Options(), {}).spec.groups] == [("x",), ("y",)]
    file.write_text("type: task\ngroups:\n- {name: a, commands: [x]}\n- {name: b}\n")
    with pytest.raises(SpecError, match="commands are missing"):
        load_task(file, Options(), {})


def test_options_choose_hosts() -> None:
    options = Options(
        backend=("aws", "gcp"),
        region=("eu-1",),
        fleet=("lab",),
        host=("gpu-*",),
        label=("zone=b", "disk=nvme"),
        max_price="3",
        spot_policy="spot",
        optimize="pack",
        near="10.0.0.5:9000",
        budget="5 USD",
        priority="3",
        preemptible="true",
    )
    spec = typed(options)
    assert spec.where == HostFilter(
        backends=("aws", "gcp"),
        regions=("eu-1",),
        fleets=("lab",),
        hosts=("gpu-*",),
        labels={"zone": "b", "disk": "nvme"},
        max_price=3.0,
        spot=SpotPolicy.SPOT,
    )
    assert (spec.optimize, spec.near, spec.budget) == (Optimize.PACK, "10.0.0.5:9000", 5.0)
    assert (spec.priority, spec.preemptible) == (3, True)


def test_options_take_the_place_of_the_files_lists(tmp_path: Path) -> None:
    options = Options(host=("b",), label=("y=2",))
    spec = spec_of(tmp_path, "hosts: [a]\nlabels: {x: 1}\n", options)
    assert (spec.where.hosts, spec.where.labels) == (("b",), {"y": "2"})


@pytest.mark.parametrize(
    ("body", "line"),
    [
        ("backends: []", "job.yml:3: backends: a backend is empty; name one, or leave the field out"),
        ("regions: {a: b}", "job.yml:3: regions: this must be one text"),
        ("labels: [zone]", "job.yml:3: labels are names and values; write 'NAME: VALUE' lines, or"),
        ("labels: [a=1, a=2]", "job.yml:3: labels have a name twice, or an empty one"),
        ("max_price: cheap", "job.yml:3: max_price 'cheap' is not an amount of money; it is in US dollars; write for"),
        ("budget: 0", "job.yml:3: budget '0' can't be used; it must be more than 0 and at most 1000000000 USD"),
        ("budget: 5 EUR", "job.yml:3: budget '5 EUR' is not an amount of money"),
        ("spot_policy: demand", "job.yml:3: spot_policy 'demand' is not known; it is auto or spot or on-demand; did"),
        ("reservation: cr-1", "job.yml:3: field 'reservation' is not supported yet; hosts here are never reserved"),
        ("optimize: price", "job.yml:3: optimize 'price' is not known; it is cost or latency or spread or pack"),
        ("near: the lab", "job.yml:3: near 'the lab' is neither a host nor a URL; write for example data.example.org"),
        ("near: lab:99999", "job.yml:3: near 'lab:99999' is neither a host nor a URL"),
        ("near: https://lab/x?key=abc", "job.yml:3: near has a question mark; leave out what begins there"),
        ("preemptible: maybe", "job.yml:3: preemptible 'maybe' is neither true nor false; write one of them"),
        ("preflight: netwrok", "job.yml:3: preflight.kind: preflight 'netwrok' is not known; it is network or"),
        ("preflight: {min_bandwidth: 10GB}", "job.yml:3: min_bandwidth '10GB' is not a bandwidth; it is in bits a"),
        ("preflight: {max_latency: 1}", "job.yml:3: max_latency '1' is not a short time; it has a unit: us, ms or s"),
        ("preflight: {seconds: 5000}", "job.yml:3: preflight for 5000 s can't be made; seconds goes from"),
        ("preflight:\n  latency: 1ms", "job.yml:4: unknown field 'latency'; preflight has no such field; did you mean"),
        ("placement: any\npreflight: network", "job.yml:4: preflight is for placement 'cluster'; 'any' nodes never"),
        ("utilization_policy: 10", "job.yml:3: utilization_policy must be a mapping"),
        ("utilization_policy: {min_gpu_utilization: 10}", "job.yml:3: utilization_policy.time_window is missing"),
        (
            "utilization_policy: {min_gpu_utilization: 10, time_window: 5s}",
            "job.yml:3: utilization_policy: time_window 5 s can't be used; it goes from 1m to 7d; choose another",
        ),
        ("resources: {gpu: '1/2:2'}", "job.yml:3: gpu has a share and a count; a share is of one GPU"),
        ("resources: {gpu: 3/2}", "job.yml:3: share 3/2 can't be had; a share is a part of one GPU"),
        ("variants: {name: x}", "job.yml:3: variants must be a list of mappings; write each after '- '"),
        ("variants: [fp8]", "job.yml:3: variants must be a mapping; write 'field: value' lines, indented under it"),
        ("variants:\n- name: a\n  speeed: 2\n", "job.yml:5: unknown field 'speeed'; variants has no such field; did"),
        ("variants:\n- speed: fast\n", "job.yml:4: speed 'fast' can't be used; it is above 0"),
        ("variants:\n- resources:\n    gpus: 2\n", "job.yml:5: unknown field 'gpus'; variants.resources has no such"),
        ("variants:\n- env: [NOPE]\n", "job.yml:4: env NOPE has no value here and is not set in your environment"),
        ("variants:\n- name: a\n- name: a\n", "job.yml:3: variant 'a' is given twice; each needs a name of its own"),
        ("groups:\n- name: a\n  ports: [80]\n", "job.yml:5: field 'ports' is not supported yet; a node's ports are"),
        ("groups:\n- nodes: 0\n", "job.yml:4: nodes 0 can't be had; it goes from 1 to 1000000"),
        ("nodes: 3\ngroups:\n- nodes: 2\n", "job.yml:3: the groups do not add up to nodes (3); leave nodes out"),
        ("placement: any\ngroups:\n- nodes: 2\n", "job.yml:4: groups are for placement 'cluster'; 'any' nodes"),
        ("startup_order: first", "job.yml:3: startup_order 'first' is not known; it is any or master-first"),
    ],
)  # fmt: skip
def test_errors_name_the_line_and_the_way_out(tmp_path: Path, body: str, line: str) -> None:
    (told,) = problems_of(tmp_path, body + "\n")
    assert told.startswith(line)


def test_an_option_that_every_part_overrides_is_told(tmp_path: Path) -> None:
    body = "placement: any\nvariants: [{resources: {gpu: 1}}, {resources: {gpu: 2}}]\n"
    (told,) = problems_of(tmp_path, body, Options(gpus="4"))
    assert told.startswith("--gpus: each variant says itself what it needs; change it in the file")
    assert spec_of(tmp_path, body, Options(memory="1GB")).variants[0].resources.memory_bytes == Range(GIB, GIB)


def test_options_are_named_as_the_place() -> None:
    told = typed_problems(Options(label=("x",), near="a b", priority="101", after=("a:late",), max_price="-1"))
    assert sorted(line.split(":")[0] for line in told) == ["--after", "--label", "--max-price", "--near", "--priority"]
