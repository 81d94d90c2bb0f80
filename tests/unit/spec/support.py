"""Task files as a user would write them, and what is said about them."""

from __future__ import annotations

from pathlib import Path

import pytest

from coordinator.core.spec import JobSpec
from coordinator.spec.problems import SpecError
from coordinator.spec.task import Options, load_task, task_from_command


def written(folder: Path, body: str) -> Path:
    """A task file in ``folder`` with two lines before ``body``."""
    file = folder / "job.yml"
    file.write_text(f"type: task\ncommands: [run]\n{body}")
    return file


def spec_of(folder: Path, body: str, options: Options | None = None, **environ: str) -> JobSpec:
    """What a task file means."""
    return load_task(written(folder, body), options or Options(), environ).spec


def problems_of(folder: Path, body: str, options: Options | None = None) -> list[str]:
    """What is wrong with a task file, a line each."""
    file = written(folder, body)
    with pytest.raises(SpecError) as caught:
        load_task(file, options or Options(), {})
    return [str(problem).replace(f"{folder}/", "") for problem in caught.value.problems]


def typed(options: Options) -> JobSpec:
    """What a program on the command line becomes with options."""
    return task_from_command(("run",), options, {}).spec


def typed_problems(options: Options) -> list[str]:
    """What is wrong with options, a line each."""
    with pytest.raises(SpecError) as caught:
        task_from_command(("run",), options, {})
    return [str(problem) for problem in caught.value.problems]
