"""What commands and variables refer to is checked when the job is submitted, wherever it comes from."""

from __future__ import annotations

from pathlib import Path

import pytest
from rallypoint.v1 import types_pb2 as pb

from coordinator.core.errors import Invalid
from coordinator.spec.problems import SpecError
from coordinator.spec.task import Options, task_from_command
from coordinator.wire import spec_from_pb
from tests.unit.spec.support import problems_of, spec_of

pytestmark = pytest.mark.timeout(30)

GROUPS = "groups: [{name: server}, {name: workers, nodes: 2}]\n"


def test_references_to_what_is_there(tmp_path: Path) -> None:
    body = "placement: any\nenv: {LR: 'lr=${{ matrix.lr }}'}\nmatrix: {lr: [1, 2], include: {extra: 3}}\n"
    assert spec_of(tmp_path, body).env == {"LR": "lr=${{ matrix.lr }}"}
    spec_of(tmp_path, body + "variants: [{commands: ['x ${{ matrix.extra }}']}]\n")
    spec_of(tmp_path, GROUPS + "env: {SERVER: '${{ groups[1].nodes[1].IP_ADDRESS }}'}\n")
    spec_of(tmp_path, "nodes: 2\nenv: {OTHER: '${{ groups[0].nodes[1].IP_ADDRESS }}'}\n")
    spec_of(tmp_path, "placement: any\narray: 0-9\nenv: {I: '${{ matrix.index }}'}\n")
    task_from_command(("run", "--lr", "${{ matrix.lr }}"), Options(grid=("lr=1,2",)), {})


@pytest.mark.parametrize(
    ("body", "line"),
    [
        ("env: {A: '${{ matrix.lr }}'}", "job.yml:3: ${{ matrix.lr }} is used, but nodes have no parameters; add"),
        (
            "placement: any\nmatrix: {lrate: [1, 2]}\nenv:\n- A=1\n- B=${{ matrix.lrat }}",
            "job.yml:7: ${{ matrix.lrat }} is used, but the matrix has no such parameter; did you mean",
        ),
        (
            "placement: any\nvariants:\n- commands:\n  - x\n  - |\n    y ${{ groups[0].nodes[0].IP_ADDRESS }}",
            "job.yml:7: ${{ groups[0].nodes[0].IP_ADDRESS }} is used, but 'any' nodes know nothing of",
        ),
        (
            GROUPS + "env: {S: '${{ groups[2].nodes[0].IP_ADDRESS }}'}",
            "job.yml:4: ${{ groups[2].nodes[0].IP_ADDRESS }} is used, but groups end at 1; they are counted from",
        ),
        (
            GROUPS.replace("workers,", "workers, env: {S: '${{ groups[1].nodes[2].IP_ADDRESS }}'},"),
            "job.yml:3: ${{ groups[1].nodes[2].IP_ADDRESS }} is used, but that group's nodes end at 1; they are",
        ),
        (
            "env: {S: '${{ groups[0].nodes[1].IP_ADDRESS }}'}",
            "job.yml:3: ${{ groups[0].nodes[1].IP_ADDRESS }} is used, but that group's nodes end at 0; they are",
        ),
        ("env: {S: '${{ secrets.token }}'}", "job.yml:3: env S uses '${{ secrets.token }}', which is not supported"),
        ("env: {S: '${{ dstack.node_rank'}", "job.yml:3: env S uses '${{ dstack.node_rank }}', which is not"),
        ("working_dir: '/${{ matrix.lr }}'", "job.yml:3: working_dir uses '${{ … }}', which is filled in only in"),
    ],
)  # fmt: skip
def test_references_to_what_is_not(tmp_path: Path, body: str, line: str) -> None:
    (told,) = problems_of(tmp_path, body + "\n")
    assert told.startswith(line)


def test_a_wrong_matrix_is_told_once(tmp_path: Path) -> None:
    (told,) = problems_of(tmp_path, "placement: any\nmatrix: {lr: 2..1}\nenv: {A: '${{ matrix.lr }}'}\n")
    assert told.startswith("job.yml:4: lr: 2..1 is the wrong way round")


def test_what_the_caller_has_is_no_reference(tmp_path: Path) -> None:
    assert spec_of(tmp_path, "env: [A]\n", A="x ${{ matrix.y }}").env == {"A": "x $${{ matrix.y }}"}
    assert spec_of(tmp_path, "env: {A: 'x $${{ y }}'}\n").env == {"A": "x $${{ y }}"}


def test_arguments_on_the_command_line() -> None:
    with pytest.raises(SpecError, match=r"command line: \$\{\{ matrix.lr \}\} is used, but nodes have no parameters"):
        task_from_command(("run", "${{ matrix.lr }}"), Options(), {})
    with pytest.raises(SpecError, match=r"--env: env A uses '\$\{\{ x \}\}', which is not supported yet"):
        task_from_command(("run",), Options(env=("A=${{ x }}",)), {})


def test_other_programs_jobs_are_checked_too() -> None:
    for text in ("${{ matrix.lr }}", "${{ groups[1].nodes[0].IP_ADDRESS }}", "${{ secrets.x }}"):
        with pytest.raises(Invalid, match=r"is used|which is not supported yet"):
            spec_from_pb(pb.JobSpec(nodes=1, commands=[text]))
