"""Lingering, by a stand-in for loginctl: begun for the agent of an ordinary user, ended where it was ours."""

from __future__ import annotations

import json
import os
import pwd
from pathlib import Path

import pytest

from agent.install.supervision import have_linger
from agent.installation import load, save
from agent.removal import Remover
from tests.unit.agent.test_installation import installation

USER = pwd.getpwuid(os.geteuid()).pw_name
LOGINCTL = f"""\
#!/bin/sh
cd "${{0%/*}}" && echo "$1 $2" >>asked
case "$1" in
  show-user) [ -e linger ] || exit 1; echo yes ;;
  enable-linger) [ ! -e refuses ] || {{ echo Access denied >&2; exit 1; }}; : >linger ;;
  disable-linger) [ "$2" = {USER} ] && [ ! -e refuses ] || {{ echo Access denied >&2; exit 1; }}; rm linger ;;
esac
"""


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the stand-in: ``linger`` is there while the user lingers, ``refuses`` makes it refuse."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "loginctl").write_text(LOGINCTL)
    (folder / "loginctl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder


def removed(prefix: Path) -> list[str]:
    remover = Remover()
    remover.lingering(load(prefix).created.lingers)
    return remover.stayed


def test_what_the_installer_began_ends_with_the_installation(tmp_path: Path, systemd: Path) -> None:
    save(installation(tmp_path))
    for _ in range(2):
        have_linger(tmp_path)
        assert (systemd / "linger").exists()
        assert load(tmp_path).created.lingers == (USER,)
    assert removed(tmp_path) == []
    assert not (systemd / "linger").exists()
    # As it may be, too: nothing is left to do.
    assert removed(tmp_path) == []


def test_what_was_so_before_stays(tmp_path: Path, systemd: Path) -> None:
    save(installation(tmp_path))
    (systemd / "linger").touch()
    have_linger(tmp_path)
    assert removed(tmp_path) == []
    assert (systemd / "linger").exists()
    assert "able-linger" not in (systemd / "asked").read_text()


def test_a_user_without_the_right_to_is_left_alone(tmp_path: Path, systemd: Path) -> None:
    save(installation(tmp_path))
    (systemd / "refuses").touch()
    have_linger(tmp_path)
    assert load(tmp_path) == installation(tmp_path)
    (systemd / "refuses").unlink()
    have_linger(tmp_path)
    (systemd / "refuses").touch()
    assert removed(tmp_path) == [f"the lingering of {USER} (Access denied): loginctl disable-linger {USER}"]


def test_without_systemds_commands_nothing_is_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(installation(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    have_linger(tmp_path)
    assert load(tmp_path) == installation(tmp_path)


def test_an_installation_of_an_earlier_release_made_nobody_linger(tmp_path: Path) -> None:
    save(installation(tmp_path))
    record = json.loads((tmp_path / "install.json").read_text())
    del record["created"]["lingers"]
    (tmp_path / "install.json").write_text(json.dumps(record))
    assert load(tmp_path) == installation(tmp_path)
