"""What uninstalling removes, and what it leaves because it is not ours, or because it was asked to."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agent.installation import Created, Installation, Mode, Supervisor
from agent.removal import Remover


def make(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("x")
    return path


def left(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir() or path.is_symlink())


@pytest.fixture
def installation(tmp_path: Path) -> Installation:
    """As the installer makes it, with things of others in and beside it."""
    prefix, state = tmp_path / "opt/rallypoint", tmp_path / "lib/rallypoint/agent"
    make(prefix / "versions/1/bin/agent")
    (prefix / "current").symlink_to("versions/1")
    for name in ("identity.json", "logs/j.0.1.log", "agent.log", "agent.log.1", "work/j.0.1/file"):
        make(state / name)
    (state / "work/j.0.1/out").symlink_to(make(tmp_path / "data/of-a-user"))
    make(tmp_path / "lib/rallypoint/coordinator/coordinator.db")
    make(tmp_path / "lib/rallypoint/.cache/of-a-task")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/agent").symlink_to(prefix / "current/bin/agent")
    created = Created(
        dirs=(str(prefix / "versions"), str(state.parent), str(state)),
        files=(str(make(tmp_path / "units/rallypoint-agent.service")), str(tmp_path / "units/gone-before")),
        links=(str(tmp_path / "bin/agent"),),
        parents=(str(prefix.parent), str(prefix), str(tmp_path / "units")),
    )
    made = Installation(
        prefix, Mode.ROOT, Supervisor.SYSTEMD, state, coordinator="", install_url="", pin="", python="", created=created
    )
    make(made.file)
    return made


def remove(installation: Installation, keep_logs: bool) -> list[str]:
    remover = Remover()
    remover.files(installation.created)
    remover.state(installation.state_dir, keep_logs)
    remover.program(installation, installation.state_dir if keep_logs else None)
    return remover.stayed


def test_all_of_ours_goes_and_nothing_of_others(tmp_path: Path, installation: Installation) -> None:
    assert remove(installation, keep_logs=False) == []
    assert left(tmp_path) == ["data/of-a-user", "lib/rallypoint/coordinator/coordinator.db"]
    assert sorted(os.listdir(tmp_path)) == ["bin", "data", "lib"], "directories that are empty now went too"
    assert remove(installation, keep_logs=False) == [], "it may be repeated"


def test_logs_are_kept_where_they_are(tmp_path: Path, installation: Installation) -> None:
    make(tmp_path / "units/of-another")
    assert remove(installation, keep_logs=True) == []
    state = "lib/rallypoint/agent"
    assert left(tmp_path) == [
        "data/of-a-user",
        "lib/rallypoint/.cache/of-a-task",
        *(f"{state}/{name}" for name in ("agent.log", "agent.log.1", "logs/j.0.1.log")),
        "lib/rallypoint/coordinator/coordinator.db",
        "units/of-another",
    ]


def test_what_can_not_be_removed_is_named(tmp_path: Path, installation: Installation) -> None:
    link = Path(installation.created.links[0])
    link.unlink()
    make(link / "in-the-way")
    (stayed,) = remove(installation, keep_logs=False)
    assert stayed.startswith(f"{link} (Is a directory")
