"""Every piece of YAML in the documentation is what it says: a task file, or a part of one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from coordinator.core.spec import AfterWhen, Dependency
from coordinator.spec.model import TaskFields
from coordinator.spec.task import Options, load_task
from coordinator.spec.unsupported import DSTACK_FIELDS

pytestmark = pytest.mark.timeout(30)

DOCS = Path(__file__).parents[3] / "docs"
PAGE = (DOCS / "task-file.md").read_text()
BLOCKS = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


def test_there_are_examples() -> None:
    assert len(BLOCKS) > 12


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_every_example_is_a_task(block: str, tmp_path: Path) -> None:
    (tmp_path / "search.py").touch()
    (tmp_path / "urls.txt").write_text("https://data.example.org/1\n")
    whole = block if "type: task" in block else f"type: task\n{block}"
    file = tmp_path / "job.yml"
    file.write_text(whole if "commands:" in whole else f"{whole}commands: [run]\n")
    load_task(file, Options(), {"WANDB_API_KEY": "secret", "NGC_API_KEY": "secret"})


@pytest.mark.parametrize("field", sorted(TaskFields.model_fields))
def test_every_field_is_described(field: str) -> None:
    assert f"`{field}`" in PAGE


def test_what_the_page_counts(tmp_path: Path) -> None:
    (block,) = (each for each in BLOCKS if "matrix:" in each)
    file = tmp_path / "job.yml"
    file.write_text(f"type: task\n{block}")
    spec = load_task(file, Options(), {}).spec
    # Three rates, four seeds, four batches; less the four seeds of one pair, less two seeds of one rate, plus one.
    assert spec.nodes == 3 * 4 * 4 - 4 - 2 * 4 + 1
    (block,) = (each for each in BLOCKS if "after:\n" in each)
    file.write_text(f"type: task\ncommands: [x]\n{block}")
    assert load_task(file, Options(), {}).spec.after == (
        Dependency("prepare"), Dependency("j-17", AfterWhen.DONE), Dependency("train", AfterWhen.FAILED)
    )  # fmt: skip


def test_nothing_is_both_supported_and_not() -> None:
    assert not set(DSTACK_FIELDS) & set(TaskFields.model_fields)
