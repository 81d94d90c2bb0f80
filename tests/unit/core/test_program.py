"""What a node runs where the nodes of a job are not alike."""

from __future__ import annotations

from dataclasses import replace

import pytest

from coordinator.core.ids import HostId, JobId, allocation_id
from coordinator.core.matrix import Axis, Matrix, MatrixSource
from coordinator.core.model import Allocation, Group, GroupMember, Job, Phase
from coordinator.core.program import Program, group_of, program_of, resources_of
from coordinator.core.spec import GpuRequest, JobSpec, NodeGroup, Range, Resources, Variant

SMALL, LARGE = Resources(cpus=Range(1, 1)), Resources(cpus=Range(8, 8))


def program(spec: JobSpec, rank: int = 0, variant: str = "") -> Program | None:
    job = Job(JobId("j-1"), 1, "a", "ann", "", spec, 0.0)
    held = Allocation(allocation_id(job.id, rank, 1), job.id, rank, 1, HostId("h-1"), 1, 0, (), Phase.RUNNING)
    members = tuple(GroupMember(r, HostId(f"h-{r}"), f"10.0.0.{r}", 1) for r in range(spec.nodes))
    return program_of(job, replace(held, variant=variant), Group(1, "10.0.0.0", 29500, members))


def test_a_job_of_nodes_that_are_alike_needs_none() -> None:
    assert program(JobSpec(commands=("echo ${HOME}",), env={"A": "$B"})) is None


def test_a_variant_has_its_own_commands_and_adds_to_the_environment() -> None:
    spec = JobSpec(
        commands=("train",),
        env={"A": "1", "B": "1"},
        variants=(
            Variant("h100", LARGE, {"B": "2"}, ("train --fp8",), precision="fp8"),
            Variant("cpu", SMALL),
        ),
    )
    assert program(spec, variant="h100") == Program(
        commands=("train --fp8",),
        argv=(),
        env={"A": "1", "B": "2"},
        given={"RALLYPOINT_VARIANT": "h100", "RALLYPOINT_PRECISION": "fp8"},
        resources=LARGE,
    )
    cpu = program(spec, variant="cpu")
    assert cpu is not None
    assert (cpu.commands, cpu.resources) == (("train",), SMALL)


def test_a_node_with_a_share_of_a_gpu_is_told_how_much_it_must_keep_to() -> None:
    half, third = (Resources(gpu=GpuRequest(share=part)) for part in ((1, 2), (1, 3)))
    alike = program(JobSpec(commands=("train",), resources=half))
    assert alike is not None
    assert (alike.commands, alike.given["RALLYPOINT_GPU_SHARE"]) == (("train",), "1/2")
    spec = JobSpec(commands=("train",), variants=(Variant("some", third), Variant("whole", LARGE)))
    some, whole = program(spec, variant="some"), program(spec, variant="whole")
    assert some is not None
    assert some.given["RALLYPOINT_GPU_SHARE"] == "1/3"
    assert whole is not None
    assert "RALLYPOINT_GPU_SHARE" not in whole.given


def groups() -> JobSpec:
    serve = "serve --workers ${{ groups[1].nodes[0].IP_ADDRESS }},${{groups[1].nodes[1].IP_ADDRESS}}"
    return JobSpec(
        nodes=3,
        env={"SERVER": "${{ groups[0].nodes[0].IP_ADDRESS }}:80"},
        groups=(
            NodeGroup("servers", 1, SMALL, {"ROLE": "server"}, (serve,)),
            NodeGroup("workers", 2, LARGE, {}, ("work ${{ groups[7].nodes[0].IP_ADDRESS }}",)),
        ),
    )


def test_ranks_are_given_in_the_order_of_the_groups() -> None:
    spec = groups()
    assert [group_of(spec, rank)[0] for rank in range(3)] == [0, 1, 1]
    assert [resources_of(spec, rank) for rank in range(3)] == [SMALL, LARGE, LARGE]
    assert group_of(spec, 3)[1] is None, "a spare is in no group"


def test_a_node_of_a_group_is_told_the_addresses_that_it_asks_for_and_its_place() -> None:
    server, worker = program(groups(), 0), program(groups(), 2)
    assert server is not None
    assert worker is not None
    assert server.commands == ("serve --workers 10.0.0.1,10.0.0.2",)
    assert dict(server.env) == {"SERVER": "10.0.0.0:80", "ROLE": "server"}
    assert worker.commands == ("work ${{ groups[7].nodes[0].IP_ADDRESS }}",), "there is no such group"
    assert dict(worker.given) == {
        "RALLYPOINT_GROUP_NAME": "workers",
        "RALLYPOINT_GROUP_INDEX": "1",
        "RALLYPOINT_GROUP_RANK": "1",
        "RALLYPOINT_GROUP_NODES": "2",
    }


@pytest.mark.parametrize("field", ["commands", "argv"])
def test_the_nodes_of_a_job_without_groups_are_one_group(field: str) -> None:
    spec = JobSpec(nodes=2, **{field: ("ping", "${{ groups[0].nodes[1].IP_ADDRESS }}")})  # type: ignore[arg-type]
    found = program(spec)
    assert found is not None
    assert getattr(found, field) == ("ping", "10.0.0.1")


def test_a_node_gets_the_values_of_its_own_parameters_and_of_no_others() -> None:
    matrix = Matrix((Axis("lr", ("1e-3", "1e-4")), Axis("seed", first=1, last=500_000)), included=({"lr": "0"},))
    spec = JobSpec(
        nodes=len(matrix), commands=("train --lr ${{ matrix.lr }}",), env={"S": "${{matrix.seed}}"}, matrix=matrix
    )
    found = program(spec, 500_001)
    assert found is not None
    assert (found.commands, dict(found.env)) == (("train --lr 1e-4",), {"S": "2"})
    assert dict(found.given) == {"RALLYPOINT_MATRIX_LR": "1e-4", "RALLYPOINT_MATRIX_SEED": "2"}
    last = program(spec, 1_000_000)
    assert last is not None
    assert (last.commands, dict(last.env)) == (("train --lr 0",), {"S": ""})
    assert dict(last.given) == {"RALLYPOINT_MATRIX_LR": "0"}


@pytest.mark.parametrize(
    ("source", "variable"),
    [(MatrixSource.ARRAY, "RALLYPOINT_ARRAY_INDEX"), (MatrixSource.LINES, "RALLYPOINT_LINE")],
)
def test_an_index_or_a_line_has_a_name_of_its_own(source: MatrixSource, variable: str) -> None:
    matrix = Matrix((Axis("x", ("a b", "c")),), source=source)
    found = program(JobSpec(nodes=2, argv=("run", "${{ matrix.x }}"), matrix=matrix), 0)
    assert found is not None
    assert (found.argv, dict(found.given)) == (("run", "a b"), {variable: "a b"})
