"""A specification keeps its meaning over the wire, and what comes in is checked."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rallypoint.v1 import types_pb2 as pb

from coordinator.core.errors import Invalid
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
from coordinator.spec.rules import SIGNALS
from coordinator.wire import spec_from_pb, spec_to_pb

pytestmark = pytest.mark.timeout(60)

texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
filled = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=20)
seconds = st.floats(min_value=1, max_value=1e6)


def ranges(low: int) -> st.SearchStrategy[Range]:
    ends = st.lists(st.integers(low, 2**50), min_size=2, max_size=2).map(sorted)
    return st.one_of(
        ends.map(lambda both: Range(both[0], both[1])),
        ends.map(lambda both: Range(both[0], None)),
    )


names = st.lists(filled, max_size=2).map(tuple)
gpus = st.builds(
    GpuRequest,
    vendor=st.sampled_from([None, "nvidia", "amd"]),
    names=st.lists(filled, max_size=3).map(tuple),
    count=ranges(1),
    memory_bytes=ranges(0) | st.just(Range()),
    total_memory_bytes=ranges(0),
    min_compute_capability=st.none() | st.tuples(st.integers(1, 12), st.integers(0, 9)),
)
shared_gpus = st.builds(GpuRequest, share=st.sampled_from([None, (1, 2), (2, 3), (99, 100)]))
environments = st.dictionaries(st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,9}", fullmatch=True), texts, max_size=3).map(
    MappingProxyType
)
part_names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,9}", fullmatch=True)
commands = st.lists(filled, max_size=2).map(tuple)
variants = st.lists(
    st.builds(
        Variant,
        name=part_names,
        resources=st.builds(Resources, gpu=st.none() | gpus | shared_gpus),
        env=environments,
        commands=commands,
        precision=texts,
        speed=st.none() | st.floats(0.01, 100),
    ),
    max_size=3,
    unique_by=lambda variant: variant.name,
).map(tuple)
groups = st.lists(
    st.builds(NodeGroup, name=part_names, nodes=st.integers(1, 9), env=environments, commands=commands),
    min_size=1,
    max_size=3,
    unique_by=lambda group: group.name,
).map(tuple)
axes = st.lists(
    st.builds(
        Axis, st.from_regex(r"[A-Za-z_]{1,5}", fullmatch=True), st.lists(texts, min_size=1, max_size=3).map(tuple)
    )
    | st.builds(
        lambda name, first, more, step: Axis(name, (), first, first + more, step),
        st.from_regex(r"[A-Za-z_]{1,5}", fullmatch=True),
        st.integers(-9, 9),
        st.integers(0, 50),
        st.integers(1, 3),
    ),
    min_size=1,
    max_size=3,
    unique_by=lambda axis: axis.name,
).map(tuple)


@st.composite
def matrices(draw: st.DrawFn) -> Matrix:
    """Matrices of a few axes, some of whose combinations are left out."""
    whole = Matrix(draw(axes), included=tuple(draw(st.lists(st.just({"x": "1"}), max_size=2))))
    ends = sorted(draw(st.sets(st.integers(0, whole.combinations()), max_size=6)))
    spans = tuple(zip(ends[::2], ends[1::2], strict=False))
    return replace(whole, excluded=spans, source=draw(st.sampled_from(MatrixSource)))


specs = st.builds(
    JobSpec,
    name=st.none() | st.from_regex(r"[a-z][a-z-]{0,40}", fullmatch=True),
    nodes=st.integers(1, 1_000_000),
    placement=st.sampled_from(Placement),
    commands=st.lists(filled, min_size=1, max_size=3).map(tuple),
    user=st.sampled_from([None, "ubuntu", "1000", "1000:1000", "Domain.user:video"]),
    shell=st.sampled_from([None, "sh", "bash", "/usr/bin/zsh"]),
    env=st.dictionaries(st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,9}", fullmatch=True), texts).map(MappingProxyType),
    working_dir=st.none() | filled,
    resources=st.builds(
        Resources,
        cpu_arch=st.sampled_from([None, "x86", "arm"]),
        cpus=ranges(1),
        memory_bytes=ranges(0) | st.just(Range()),
        disk_bytes=ranges(0),
        shm_bytes=st.none() | st.integers(1, 2**40),
        gpu=st.none() | gpus,
    ),
    max_duration=st.none() | seconds,
    stop_duration=st.none() | seconds | st.just(0.0),
    stop_signal=st.none() | st.sampled_from(sorted(SIGNALS)),
    stop_criteria=st.sampled_from(StopCriteria),
    retry=st.none()
    | st.builds(
        RetryPolicy,
        on_events=st.frozensets(st.sampled_from(RetryEvent)),
        duration=st.none() | seconds,
        attempts=st.none() | st.integers(1, 1000),
    ),
    spread=st.sampled_from(Spread),
    priority=st.integers(0, 100),
    where=st.builds(
        HostFilter,
        backends=names,
        regions=names,
        instance_types=names,
        fleets=names,
        hosts=names,
        labels=st.dictionaries(filled, texts, max_size=2).map(MappingProxyType),
        max_price=st.none() | st.floats(0, 1000),
        spot=st.sampled_from(SpotPolicy),
    ),
    optimize=st.sampled_from(Optimize),
    near=st.sampled_from([None, "data.example.org", "10.0.0.5:9000", "https://bucket.example.org/data", "[fd00::1]:9"]),
    after=st.lists(st.builds(Dependency, filled, st.sampled_from(AfterWhen)), max_size=2).map(tuple),
    schedule=st.sampled_from([None, "0 2 * * *"]),
    preemptible=st.booleans(),
    budget=st.none() | st.floats(0.01, 1e6),
    utilization=st.none() | st.builds(UtilizationPolicy, st.floats(1, 100), st.floats(60, 6000)),
    on_disconnect=st.builds(OnDisconnect, st.sampled_from(DisconnectAction), st.none() | seconds),
    files=st.none() | st.just(FileArchive("ab" * 32, 10)),
    python=st.none() | st.just("3.12"),
).flatmap(
    lambda spec: (
        st.just(spec)
        | st.builds(
            replace,
            st.just(replace(spec, python=None)),
            image=st.sampled_from(["ubuntu", "reg.example.org:5000/a/b:1.2", "a@sha256:" + "ab" * 32]),
            registry_auth=st.none() | st.builds(RegistryAuth, st.just("me"), st.just("pass: word")),
            privileged=st.booleans(),
        )
    )
)


specs_of_each_placement = st.one_of(
    st.builds(
        lambda spec, groups, order: replace(
            spec,
            placement=Placement.CLUSTER,
            groups=groups,
            startup_order=order,
            nodes=sum(group.nodes for group in groups),
        ),
        specs,
        groups,
        st.sampled_from(StartupOrder),
    ),
    st.builds(
        lambda spec, matrix, variants: replace(
            spec, placement=Placement.ANY, matrix=matrix, nodes=len(matrix), variants=variants, max_running=2
        ),
        specs,
        matrices().filter(len),
        variants,
    ),
    st.builds(
        lambda spec, spares, preflight: replace(spec, placement=Placement.CLUSTER, spares=spares, preflight=preflight),
        specs,
        st.integers(0, 9),
        st.none()
        | st.builds(
            PreflightPolicy,
            kind=st.sampled_from(PreflightKind),
            min_bandwidth=st.none() | st.floats(1e3, 1e12),
            max_latency=st.none() | st.floats(1e-6, 1),
            seconds=st.floats(0.1, 60),
            on_slow=st.sampled_from(OnSlow),
        ),
    ),
    st.builds(
        lambda spec, copies, failure: replace(
            spec, placement=Placement.ANY, redundancy=copies, on_node_failure=failure
        ),
        specs,
        st.integers(1, 16),
        st.sampled_from(OnNodeFailure),
    ),
)


@given(specs_of_each_placement)
def test_there_and_back(spec: JobSpec) -> None:
    message = pb.JobSpec.FromString(spec_to_pb(spec).SerializeToString())
    assert spec_from_pb(message) == spec


def test_argv_there_and_back() -> None:
    spec = JobSpec(argv=("prog", "", "two words"))
    assert spec_from_pb(spec_to_pb(spec)) == spec


def test_what_is_left_out_has_the_defaults() -> None:
    assert spec_from_pb(pb.JobSpec(nodes=1, commands=["x"])) == JobSpec(commands=("x",))


def _no_commands(message: pb.JobSpec) -> None:
    del message.commands[:]


@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        (lambda m: setattr(m, "nodes", 0), "nodes 0 can't be had; a job has 1 to 1000000 nodes"),
        (lambda m: setattr(m, "nodes", 1_000_001), "nodes 1000001 can't be had"),
        (_no_commands, "exactly one of commands and argv must be given"),
        (lambda m: m.argv.append("x"), "exactly one of commands and argv must be given"),
        (lambda m: setattr(m.preflight, "kind", 7), "preflight 7 is not known to this coordinator"),
        (lambda m: setattr(m.preflight, "seconds", 3600), "preflight for 3600 s can't be made; seconds goes from 0.1"),
        (lambda m: setattr(m.preflight, "min_bandwidth", math.nan), "min_bandwidth of nan bit/s can't be asked for"),
        (lambda m: setattr(m.preflight, "max_latency_seconds", math.inf), "max_latency_seconds inf can't be used"),
        (lambda m: setattr(m, "name", "../etc"), "name '../etc' can't be used"),
        (lambda m: m.env.update({"A=B": "1"}), "env 'A=B' is not a variable's name"),
        (lambda m: m.env.update({"A": "\0"}), "env A holds a NUL character; no program can be given one; remove it"),
        (lambda m: m.commands.append("a\0b"), "a command holds a NUL character"),
        (lambda m: m.commands.append("x" * 2**20), "bytes; at most 1048576 are taken"),
        (lambda m: setattr(m, "placement", 9), "placement 9 is not known to this coordinator"),
        (lambda m: setattr(m, "user", "-x"), "user '-x' can't be used"),
        (lambda m: setattr(m, "shell", "rm -rf"), "shell 'rm -rf' can't be used"),
        (lambda m: setattr(m, "stop_signal", "FOO"), "signal 'FOO' is not known"),
        (
            lambda m: setattr(m, "max_duration_seconds", 0),
            "max_duration_seconds 0.0 can't be used",
        ),
        (lambda m: setattr(m, "max_duration_seconds", math.inf), "max_duration_seconds inf can't be used"),
        (lambda m: setattr(m, "stop_duration_seconds", math.nan), "stop_duration_seconds nan can't be used"),
        (lambda m: setattr(m.resources, "cpu_arch", "risc"), "cpu_arch 'risc' is not known; it is x86 or arm"),
        (lambda m: setattr(m.resources, "shm_bytes", -1), "shm_bytes -1 can't be had"),
        (lambda m: setattr(m.resources.memory_bytes, "min", -1), "memory_bytes -1.. is below 0"),
        (lambda m: m.resources.cpus.MergeFrom(pb.IntRange(min=4, max=2)), "cpus 4..2 is the wrong way round"),
        (lambda m: m.resources.gpu.count.MergeFrom(pb.IntRange(min=0)), "gpu.count begins at 0"),
        (lambda m: setattr(m.resources.gpu, "vendor", "NVIDIA"), "gpu.vendor 'NVIDIA' is not known"),
        (lambda m: setattr(m.files, "sha256", "../x"), "files names no archive"),
    ],
)
def test_bad_specifications_are_refused(spoil: Callable[[pb.JobSpec], None], text: str) -> None:
    message = pb.JobSpec(nodes=1, commands=["x"])
    spoil(message)
    with pytest.raises(Invalid) as caught:
        spec_from_pb(message)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_values_of_nodes_have_a_limit_of_their_own() -> None:
    # 700 bytes a line, so that the number of nodes is no matter.
    lines = tuple(f"{n:0700d}" for n in range(11_000))
    spec = JobSpec(commands=("x",), placement=Placement.ANY, nodes=11_000, matrix=Matrix((Axis("line", lines),)))
    message = spec_to_pb(spec)
    assert message.ByteSize() > 7 * 2**20
    assert spec_from_pb(message) == spec
    message.matrix.axes[0].values.extend(f"x{n:0700d}" for n in range(1_000))
    message.nodes = 12_000
    with pytest.raises(Invalid, match="the values of the nodes have 8449000 bytes; at most 8388608 are taken"):
        spec_from_pb(message)
