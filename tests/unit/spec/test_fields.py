"""Every field of a task file, as it is written and what it becomes."""

from __future__ import annotations

from pathlib import Path

import pytest

from coordinator.core.spec import GpuRequest, JobSpec, Placement, Range, StopCriteria
from coordinator.spec.files import FileMapping
from coordinator.spec.task import Options, Task, load_task, task_from_command

pytestmark = pytest.mark.timeout(30)

EXAMPLES = Path(__file__).parents[3] / "docs" / "examples"


def load(tmp_path: Path, body: str, options: Options | None = None, **environ: str) -> Task:
    file = tmp_path / "job.yml"
    file.write_text("type: task\n" + body)
    return load_task(file, options or Options(), environ)


def spec_of(tmp_path: Path, body: str, **environ: str) -> JobSpec:
    return load(tmp_path, "commands: [run]\n" + body, **environ).spec


def test_a_task_needs_no_more_than_commands(tmp_path: Path) -> None:
    spec = load(tmp_path, "commands:\n  - echo hello\n").spec
    assert spec == JobSpec(commands=("echo hello",))
    assert spec.resources.cpus == Range(1, None)
    assert spec.resources.gpu is None


def test_all_plain_fields(tmp_path: Path) -> None:
    spec = spec_of(
        tmp_path,
        "name: search\nnodes: 24\nplacement: any\nworking_dir: /data\nshell: bash\nuser: 1000:1000\nmax_duration: 2h\n"
        "stop_duration: 90s\nstop_signal: sigint\nstop_criteria: master-done\n",
    )
    assert (spec.name, spec.nodes, spec.placement) == ("search", 24, Placement.ANY)
    assert (spec.working_dir, spec.shell, spec.user) == ("/data", "bash", "1000:1000")
    assert (spec.max_duration, spec.stop_duration) == (7200.0, 90.0)
    assert (spec.stop_signal, spec.stop_criteria) == ("INT", StopCriteria.MASTER_DONE)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), ("5m", 300), ("1h", 3600), ("2d", 172800), ("1w", 604800), ("1.5h", 5400), ("10 m", 600)],
)
def test_durations(tmp_path: Path, text: str, seconds: float) -> None:
    assert spec_of(tmp_path, f"max_duration: {text}\n").max_duration == seconds


@pytest.mark.parametrize("off", ["off", "false", "Off"])
def test_max_duration_off_is_no_limit(tmp_path: Path, off: str) -> None:
    assert spec_of(tmp_path, f"max_duration: {off}\n").max_duration is None


def test_text_stays_as_it_is_written(tmp_path: Path) -> None:
    spec = load(tmp_path, "commands: [true, 5]\nenv:\n  A: 0.10\n  B: yes\n  C: 1e-3\n  D: 012\n  E: ''\n").spec
    assert spec.commands == ("true", "5")
    assert spec.env == {"A": "0.10", "B": "yes", "C": "1e-3", "D": "012", "E": ""}


def test_env_as_a_list_with_the_callers_own(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, "env:\n  - A=1=2\n  - TOKEN\n  - EMPTY=\n", TOKEN="secret")
    assert spec.env == {"A": "1=2", "TOKEN": "secret", "EMPTY": ""}


def test_fields_without_a_value_count_as_absent(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, "env:\nresources:\n  gpu:\nname:\nfiles:\n")
    assert spec == JobSpec(commands=("run",))


def test_files_are_relative_to_the_task_file(tmp_path: Path) -> None:
    for name in ("train.py", "conf.yml"):
        (tmp_path / name).write_text("x")
    task = load(
        tmp_path,
        "commands: [run]\nfiles:\n  - train.py\n  - ./conf.yml:etc/./c.yml\n"
        "  - local_path: train.py\n    path: again.py\n",
    )
    assert task.files == (
        FileMapping(str(tmp_path / "train.py"), "train.py"),
        FileMapping(str(tmp_path / "conf.yml"), "etc/c.yml"),
        FileMapping(str(tmp_path / "train.py"), "again.py"),
    )


def test_anchors_and_merges(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, "resources: {memory: &m 2GB, disk: *m}\n")
    assert spec.resources.disk_bytes == Range(2 * 2**30, None)
    assert spec.resources.memory_bytes == Range(2 * 2**30, 2 * 2**30)
    again = (
        "commands: [run]\nresources:\n  cpu: &c {count: 4..}\n  disk: {size: 1GB}\nenv:\n  <<: {A: 1, B: 2}\n  B: 3\n"
    )
    assert load(tmp_path, again).spec.env == {"A": "1", "B": "3"}


def test_options_override_the_file(tmp_path: Path) -> None:
    options = Options(
        name="other", nodes="3", placement="any", gpus="H100:2", memory="1GB", env=("A=9", "C"), max_duration="1m"
    )
    body = "commands: [run]\nname: first\nnodes: 8\nresources: {gpu: T4, cpu: 4}\nenv: {A: 1, B: 2}\n"
    spec = load(tmp_path, body, options, C="mine").spec
    assert (spec.name, spec.nodes, spec.placement, spec.max_duration) == ("other", 3, Placement.ANY, 60.0)
    assert spec.resources.gpu == GpuRequest(names=("H100",), count=Range(2, 2))
    assert spec.resources.cpus == Range(4, None)
    assert spec.env == {"A": "9", "B": "2", "C": "mine"}


def test_a_program_without_a_file() -> None:
    task = task_from_command(("python", "train.py", "--lr", "0.1"), Options(nodes="4", cpus="2.."), {})
    assert task.spec.argv == ("python", "train.py", "--lr", "0.1")
    assert task.spec.commands == ()
    assert (task.spec.nodes, task.spec.resources.cpus) == (4, Range(2, None))


@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("*/*.yml")), ids=lambda file: file.stem)
def test_every_example_is_valid(file: Path) -> None:
    task = load_task(file, Options(), {})
    assert task.spec.name == file.stem
    assert all(Path(mapping.local).is_file() for mapping in task.files)
