"""Every example is a complete task file: what it names is there, and it needs nothing that a small host lacks."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.examples.nodes import EXAMPLES, example

FILES = sorted(str(path.relative_to(EXAMPLES)) for path in EXAMPLES.glob("*/*.yml"))
# dstack's fields that the examples keep to, and those of ours that they show.
FIELDS = {"type", "name", "placement", "nodes", "stop_criteria", "files", "env", "commands", "resources"}
FIELDS |= {"matrix", "max_running", "variants", "groups", "startup_order"}


def test_all_examples_are_found() -> None:
    assert len(FILES) == 11


@pytest.mark.parametrize("name", FILES)
def test_task_file_is_complete(name: str, tmp_path: Path) -> None:
    task = example(name, tmp_path)

    assert set(task.fields) <= FIELDS
    assert task.fields["type"] == "task"
    assert task.fields["name"] == task.path.stem
    assert task.fields["placement"] == task.path.parent.name
    assert all((task.path.parent / file).is_file() for file in task.fields["files"])
    assert all("gpu" not in part["resources"] for part in task.fields.get("groups", [task.fields]))


def test_the_readme_tells_of_every_example_and_of_no_other() -> None:
    readme = (EXAMPLES / "README.md").read_text()
    told = {word.strip("`,.") for word in readme.split() if word.strip("`,.").endswith(".yml")}
    assert {name.removeprefix("docs/examples/") for name in told} == set(FILES)


def test_every_script_belongs_to_a_task_file(tmp_path: Path) -> None:
    used = {Path(name).parent / file for name in FILES for file in example(name, tmp_path).fields["files"]}
    there = {path.relative_to(EXAMPLES) for path in EXAMPLES.glob("*/*") if path.suffix in {".py", ".c"}}
    assert used == there
