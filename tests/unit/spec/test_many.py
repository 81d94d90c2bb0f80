"""The values of many nodes, and when a job runs: matrix, array, each_line, after, schedule."""

from __future__ import annotations

from itertools import pairwise, product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.core.matrix import Axis, Matrix, MatrixSource
from coordinator.core.spec import AfterWhen, Dependency, Placement
from coordinator.spec.matrix import matching, union
from coordinator.spec.rules import MAX_MATRIX_BYTES
from coordinator.spec.task import Options
from tests.unit.spec.support import problems_of, spec_of, typed, typed_problems

pytestmark = pytest.mark.timeout(60)


def values(matrix: Matrix | None) -> list[dict[str, str]]:
    assert matrix is not None
    return [matrix.values(rank) for rank in range(len(matrix))]


def test_a_matrix_makes_the_nodes(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, "placement: any\nmatrix:\n  lr: [1e-3, 0.10]\n  seed: 1..2\n  model: tiny\n")
    assert spec.nodes == 4
    assert values(spec.matrix) == [
        {"lr": lr, "seed": seed, "model": "tiny"} for lr in ("1e-3", "0.10") for seed in ("1", "2")
    ]


@pytest.mark.parametrize(
    ("written", "listed"),
    [
        ("1..4", "1 2 3 4"),
        ("-1..1", "-1 0 1"),
        ("1..9..4", "1 5 9"),
        ("1..8..4", "1 5"),
        ("7..7", "7"),
        ("{from: 0, to: 10, step: 5}", "0 5 10"),
        ("{from: 3, to: 4}", "3 4"),
        ("[012, 1e-3, yes]", "012 1e-3 yes"),
        ("0.5", "0.5"),
        ("a..b", "a..b"),
    ],
)
def test_forms_of_values(tmp_path: Path, written: str, listed: str) -> None:
    spec = spec_of(tmp_path, f"placement: any\nmatrix: {{x: {written}}}\n")
    assert [each["x"] for each in values(spec.matrix)] == listed.split()


def test_a_million_nodes_are_a_range(tmp_path: Path) -> None:
    body = "placement: any\nmatrix:\n  mode: [a, b]\n  seed: 1..1000000\n  exclude: [{mode: b, seed: 2..999999}]\n"
    with pytest.raises(AssertionError, match="1000002"):
        raise AssertionError(*problems_of(tmp_path, body))
    spec = spec_of(tmp_path, body.replace("2..999999", "1..1000000"))
    assert spec.matrix is not None
    assert (spec.nodes, spec.matrix.excluded) == (1_000_000, ((1_000_000, 2_000_000),))


def test_what_is_left_out_and_put_in(tmp_path: Path) -> None:
    spec = spec_of(
        tmp_path,
        "placement: any\nmatrix:\n  lr: [a, b, c]\n  seed: 1..3\n"
        "  exclude:\n  - {lr: b}\n  - {lr: [a, c], seed: 2..3}\n  include:\n  - {lr: d, extra: 'yes'}\n",
    )
    assert values(spec.matrix) == [
        {"lr": "a", "seed": "1"},
        {"lr": "c", "seed": "1"},
        {"lr": "d", "extra": "yes"},
    ]
    assert spec.nodes == 3


sizes = st.lists(st.integers(1, 4), min_size=1, max_size=4)


@given(sizes, st.data())
def test_excluded_numbers_are_those_of_the_loops(sizes: list[int], data: st.DataObject) -> None:
    axes = tuple(Axis(f"a{i}", (), 0, size - 1, 1) for i, size in enumerate(sizes))
    named = data.draw(st.sets(st.sampled_from([axis.name for axis in axes])))
    places = {name: data.draw(st.sets(st.integers(0, sizes[int(name[1:])] - 1), min_size=1)) for name in named}
    spans = matching(axes, {name: union([], [(at, at + 1) for at in each]) for name, each in places.items()})
    numbers = [number for start, stop in spans for number in range(start, stop)]
    loops = product(*(range(size) for size in sizes))
    assert numbers == [
        number
        for number, combination in enumerate(loops)
        if all(combination[int(name[1:])] in each for name, each in places.items())
    ]
    assert all(before[1] < after[0] for before, after in pairwise(spans))


@pytest.mark.parametrize(
    ("text", "numbers", "at_once"),
    [
        ("0-3", "0 1 2 3", None),
        ("0-9:4", "0 4 8", None),
        ("5", "5", None),
        ("1,7-8,20-30:5", "1 7 8 20 25 30", None),
        ("0-99%8", " ".join(map(str, range(100))), 8),
    ],
)
def test_arrays(tmp_path: Path, text: str, numbers: str, at_once: int | None) -> None:
    spec = spec_of(tmp_path, f"placement: any\narray: {text}\n")
    assert [each["index"] for each in values(spec.matrix)] == numbers.split()
    assert spec.matrix is not None
    assert (spec.matrix.source, spec.max_running) == (MatrixSource.ARRAY, at_once)


def test_max_running_beside_an_array(tmp_path: Path) -> None:
    assert spec_of(tmp_path, "placement: any\narray: 0-9%8\nmax_running: 8\n").max_running == 8
    (told,) = problems_of(tmp_path, "placement: any\narray: 0-9%8\nmax_running: 4\n")
    assert told == "job.yml:5: max_running 4 and array's %8 are not the same; write one of them"
    assert spec_of(tmp_path, "placement: any\narray: 0-9%8\n", Options(max_running="4")).max_running == 4


def test_each_line_of_a_file_is_a_node(tmp_path: Path) -> None:
    (tmp_path / "urls.txt").write_bytes("\ufeffone\r\n\n two words \nümlaut\x0c\nlast".encode())
    spec = spec_of(tmp_path, "placement: any\neach_line: urls.txt\n")
    assert [each["line"] for each in values(spec.matrix)] == ["one", " two words ", "ümlaut\x0c", "last"]
    assert spec.matrix is not None
    assert spec.matrix.source is MatrixSource.LINES


def test_lines_up_to_the_limit(tmp_path: Path) -> None:
    file = tmp_path / "long.txt"
    file.write_text("".join(f"https://data.example.org/part/{n:06d}.parquet\n" for n in range(100_000)))
    assert spec_of(tmp_path, "placement: any\neach_line: long.txt\n").nodes == 100_000
    file.write_bytes(b"x\n" * (MAX_MATRIX_BYTES // 2))
    (told,) = problems_of(tmp_path, "placement: any\neach_line: long.txt\n")
    assert "long.txt' has 4194304 lines; a job has at most 1000000 nodes; divide the file" in told
    file.write_bytes(b"x\n" * (MAX_MATRIX_BYTES // 2 + 1))
    (told,) = problems_of(tmp_path, "placement: any\neach_line: long.txt\n")
    assert "is larger than 8 MB, the most that a job may carry; send it with 'files', give nodes numbers" in told
    file.write_bytes(b"x" * 9 + b"\n" + b"1234567\n" * 990_000)
    (told,) = problems_of(tmp_path, "placement: any\neach_line: long.txt\n")
    assert told.startswith("job.yml:4: the values of the nodes have 10890013 bytes; at most 8388608 are taken; send")


def test_typed_parameters_imply_any_and_the_nodes(tmp_path: Path) -> None:
    spec = typed(Options(grid=("lr=1e-3,1e-4", "seed=1..4", "mode=fast"), max_running="2"))
    assert (spec.placement, spec.nodes, spec.max_running) == (Placement.ANY, 8, 2)
    assert spec.matrix is not None
    assert spec.matrix.values(7) == {"lr": "1e-4", "seed": "4", "mode": "fast"}
    assert typed(Options(array="0-9%3")).max_running == 3
    (tmp_path / "lines").write_text("a\nb\n")
    assert typed(Options(each_line=str(tmp_path / "lines"))).nodes == 2
    # What the file says of nodes gives way, what it says of placement does not.
    assert spec_of(tmp_path, "nodes: 24\n", Options(array="0-9")).nodes == 10
    (told,) = problems_of(tmp_path, "placement: cluster\n", Options(array="0-9"))
    assert told == "--array: array is for placement 'any': each node on its own; write 'placement: any'"
    (told,) = problems_of(tmp_path, "", Options(array="0-9", nodes="3"))
    assert told == "--nodes: array makes 10 nodes, not 3; leave nodes out"


def test_a_typed_grid_overrides_the_files_parameters(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, "placement: any\nmatrix: {lr: [1, 2], seed: 1..3}\n", Options(grid=("lr=5", "x=a,b")))
    assert values(spec.matrix)[0] == {"lr": "5", "seed": "1", "x": "a"}
    assert spec.nodes == 6


def test_typed_grids_that_are_none() -> None:
    assert typed_problems(Options(grid=("lr", "x=1..0", "y=1", "y=2", "include=3", "a b=1"))) == [
        "--grid: 'lr' is not a parameter with values; write for example lr=1e-3,1e-4 or seed=1..4",
        "--grid: y is given twice; write its values once, divided by ','",
        "--grid: 'include=3' is not a parameter with values; write for example lr=1e-3,1e-4 or seed=1..4",
        "--grid: x: 1..0 is the wrong way round; the lower end comes first; write 0..1",
        "--grid: parameter 'a b' can't be used; it is letters, digits and _, not a digit first; choose another name",
    ]


@pytest.mark.parametrize(
    ("text", "after"),
    [
        ("prep", [Dependency("prep")]),
        ("j-3:failed", [Dependency("j-3", AfterWhen.FAILED)]),
        ("[a:done, {job: b, when: ok}]", [Dependency("a", AfterWhen.DONE), Dependency("b", AfterWhen.OK)]),
        ("{job: b, when: failed}", [Dependency("b", AfterWhen.FAILED)]),
    ],
)
def test_forms_of_after(tmp_path: Path, text: str, after: list[Dependency]) -> None:
    assert spec_of(tmp_path, f"after: {text}\n").after == tuple(after)
    assert typed(Options(after=("a", "j-2:done"))).after == (Dependency("a"), Dependency("j-2", AfterWhen.DONE))


@pytest.mark.parametrize("text", ["0 2 * * *", "{cron: 0 2 * * *}", "{cron: ['0  2 * * *']}"])
def test_forms_of_schedule(tmp_path: Path, text: str) -> None:
    assert spec_of(tmp_path, f"schedule: {text}\n").schedule == "0 2 * * *"


@pytest.mark.parametrize("text", ["{cron: [0 2 * * *, 30 14 * * 1]}", "[0 2 * * *, 30 14 * * 1]"])
def test_a_schedule_of_several(tmp_path: Path, text: str) -> None:
    assert spec_of(tmp_path, f"schedule: {text}\n").schedule == "0 2 * * *; 30 14 * * 1"


@pytest.mark.parametrize(
    ("body", "line"),
    [
        ("matrix: [1, 2]", "job.yml:4: matrix must be a mapping; write 'NAME: [VALUE, VALUE]' lines"),
        ("matrix: {}", "job.yml:4: matrix has no parameters; write 'NAME: [VALUE, VALUE]' lines, indented under it"),
        ("matrix:\n  x: []", "job.yml:5: x has no values; name one, or leave it out"),
        ("matrix:\n  x: [a, b, a]", "job.yml:5: x has the value 'a' twice; nodes would be the same; remove one"),
        ("matrix:\n  x: [[1]]", "job.yml:5: a value of x is not one text; write values as [1e-3, 1e-4], in quotes if"),
        ("matrix:\n  x: [1..3, 9]", "job.yml:5: x has the range '1..3' in a list; a range stands alone; write x: 1..3"),
        ("matrix:\n  x: 4..1", "job.yml:5: x: 4..1 is the wrong way round; the lower end comes first; write 1..4"),
        ("matrix:\n  x: 1..4..0", "job.yml:5: x: 1..4 goes up by 0; a step is 1 or more; choose another"),
        ("matrix:\n  x: 0.1..0.5", "job.yml:5: x '0.1..0.5' is not a range; ranges are of whole numbers, as 1..9"),
        ("matrix:\n  x: {from: 1}", "job.yml:5: x is not a range; a range has from, to and perhaps step; write"),
        ("matrix:\n  x: {from: a, to: 2}", "job.yml:5: x: from 'a' is not a whole number; ranges are of whole numbers"),
        ("matrix:\n  x: 1..2000000", "job.yml:5: x has 2000000 values; a job has at most 1000000 nodes; shorten the"),
        ("matrix:\n  x: 1..2000\n  y: 1..501", "job.yml:4: matrix makes 1002000 nodes; a job has at most 1000000;"),
        ("matrix:\n  a-b: 1", "job.yml:5: parameter 'a-b' can't be used; it is letters, digits and _, not a digit"),
        ("matrix:\n  lr: 1\n  LR: 2", "job.yml:6: parameters 'lr' and 'LR' differ only in case, as"),
        ("matrix:\n  x: 1\n  exclude: {y: 1}", "job.yml:6: exclude names 'y', which the matrix does not have; known"),
        ("matrix:\n  lr: [1e-3]\n  exclude:\n  - lr: 1e-33", "job.yml:7: exclude names the value '1e-33', which"),
        ("matrix:\n  x: [1]\n  exclude:\n  - x: 1", "job.yml:6: exclude leaves no combination; a job needs a"),
        ("matrix:\n  x: 1\n  include: [a]", "job.yml:6: include is a list of mappings; write '- {NAME: VALUE}'"),
        ("array: 0..9", "job.yml:4: array '0..9' is not known; write for example 0-99, 0-99:2, 1,5,9-12, or 0-99%8"),
        ("array: 9-0", "job.yml:4: array '9-0' is the wrong way round; the first number comes first; write 0-9"),
        ("array: 0-9%0", "job.yml:4: array: max_running 0 can't be had; it goes from 1 to 1000000"),
        ("array: 1,1", "job.yml:4: array names a number twice; each node has its own; leave one out"),
        ("array: 0-1000000", "job.yml:4: array '0-1000000' has 1000001 numbers; a job has at most 1000000 nodes"),
        ("each_line: nope.txt", "job.yml:4: each_line: "),
        ("array: 0-9\nmatrix: {x: 1}", "job.yml:4: matrix and array exclude each other; each gives the nodes"),
        ("nodes: 3\narray: 0-9", "job.yml:4: array makes 10 nodes, not 3; leave nodes out"),
        ("max_running: 0", "job.yml:4: max_running 0 can't be had; it goes from 1 to 1000000"),
        ("after: [a:late]", "job.yml:4: when 'late' is not known; it is ok or done or failed; write"),
        ("after: {job: My Job}", "job.yml:4: after.job: name 'My Job' can't be used"),
        ("after: [a, a:done]", "job.yml:4: after names 'a' twice; one end of a job is waited for; keep one of them"),
        ("schedule: daily", "job.yml:4: schedule 'daily' is not a cron expression; it has 5 fields: minute hour"),
        ("schedule: {at: 5}", "job.yml:4: schedule is a cron expression; write schedule: '0 2 * * *', or 'cron: 0 2"),
        ("schedule: {cron: [0 2 * * *, b]}", "job.yml:4: schedule 'b' is not a cron expression; it has 5 fields"),
        ("schedule: {cron: []}", "job.yml:4: schedule has no cron expression; write for example '0 2 * * *', or"),
    ],
)  # fmt: skip
def test_errors_name_the_line_and_the_way_out(tmp_path: Path, body: str, line: str) -> None:
    (told,) = problems_of(tmp_path, f"placement: any\n{body}\n")
    assert told.startswith(line)


def test_too_many_separate_pieces_are_told(tmp_path: Path) -> None:
    body = "placement: any\nmatrix:\n  seed: 1..100000\n  mode: [a, b, c]\n  exclude:\n  - mode: b\n"
    (told,) = problems_of(tmp_path, body)
    assert told.startswith("job.yml:8: exclude leaves out more than 10000 separate pieces of the matrix; write the")
    turned = body.replace("  seed: 1..100000\n  mode: [a, b, c]", "  mode: [a, b, c]\n  seed: 1..100000")
    assert spec_of(tmp_path, turned).nodes == 200_000
