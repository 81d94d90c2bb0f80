"""What uninstalling says of a runtime, by a stand-in for it: what stays there, and how to remove that."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import pytest

from agent.containers import traces
from agent.containers.detect import detect
from agent.containers.host import FOLDER
from agent.containers.images import LEDGER
from agent.containers.removal import remove_all

IN_USE = "stays (something else uses it); to remove it: podman rmi"

BROKEN = "stays (podman is there but does not work: no storage); to remove it: podman rmi"
INFO = {"host": {"security": {"rootless": True}, "cgroupControllers": []}, "version": {"Version": "5"}}
PODMAN = f"""\
#!/bin/sh
cd "${{0%/*}}"; echo "$*" >>asked
[ ! -e broken ] || {{ echo no storage >&2; exit 125; }}
case "$*" in
  *"{{{{json .}}}}") mkdir -p $HOME/.local/share/containers/storage $HOME/.config/cni; echo '{json.dumps(INFO)}' ;;
  *GraphRoot*) echo $HOME/.local/share/containers/storage ;;
  "ps --all --filter"*) echo c1 j-1.0.1 ;;
  "ps --all --quiet") cat containers 2>&- ;;
  "images --all --quiet") cat images 2>&- ;;
  "volume ls --quiet") cat volumes 2>&- ;;
  "rmi quay.io/b:1") [ ! -e in-use ] || exit 2 ;;
esac
exit 0
"""


@pytest.fixture
def runtime(tmp_path: Path) -> Path:
    """The folder of the stand-in, which is an ordinary user's, and of what it is to say."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "podman").write_text(PODMAN)
    (folder / "podman").chmod(0o755)
    (tmp_path / "state" / FOLDER).mkdir(parents=True)
    (tmp_path / "state" / FOLDER / LEDGER).write_text(json.dumps({"quay.io/a:1": 1.0, "quay.io/b:1": 2.0}))
    return folder


def environ(runtime: Path) -> dict[str, str]:
    home = runtime.parent / "home"
    return {"PATH": f"{runtime}:/usr/bin:/bin", "HOME": str(home), "XDG_RUNTIME_DIR": str(home / "run")}


def removed(runtime: Path, wanted: str = "auto") -> tuple[list[str], list[str]]:
    """What is said, and what was done to containers, images and the namespace's process."""
    told = remove_all(runtime.parent / "state", wanted, environ(runtime))
    asked = (runtime / "asked").read_text().splitlines() if (runtime / "asked").exists() else []
    return told, [line for line in asked if line.startswith(("rm", "system"))]


def test_an_ordinary_users_storage_that_nothing_else_uses_is_named(runtime: Path) -> None:
    told, done = removed(runtime)
    storage = runtime.parent / "home/.local/share/containers/storage"
    assert told == [f"podman's own storage in {storage} stays, empty; to remove it: podman system reset"]
    assert done == ["rm --force c1", "rmi quay.io/a:1", "rmi quay.io/b:1", "system migrate"]


@pytest.mark.parametrize(("before", "left"), [((), []), ((".config/x",), [".config", ".config/x"])])
def test_what_podman_made_when_the_agent_asked_it_first_goes(
    runtime: Path, monkeypatch: pytest.MonkeyPatch, before: tuple[str, ...], left: list[str]
) -> None:
    # An ordinary user's: root has podman's storage where nobody else's is.
    monkeypatch.setattr(os, "geteuid", lambda: 1234)
    home = runtime.parent / "home"
    for name in ("", *before):
        (home / name).mkdir(parents=True, exist_ok=True)
    for _ in range(2):
        traces.note(runtime.parent / "state" / FOLDER, environ(runtime))
        asyncio.run(detect("auto", environ(runtime)))
    assert (home / ".local/share/containers/storage").exists()
    assert removed(runtime)[0] == []
    assert sorted(str(path.relative_to(home)) for path in home.rglob("*")) == left


@pytest.mark.parametrize("what", ["containers", "images", "volumes"])
def test_one_that_somebody_uses_is_left_alone(runtime: Path, what: str) -> None:
    (runtime / what).write_text("abc\n")
    told, done = removed(runtime)
    assert (told, done) == ([], ["rm --force c1", "rmi quay.io/a:1", "rmi quay.io/b:1"])


def test_an_image_that_can_not_be_removed_is_named(runtime: Path) -> None:
    (runtime / "in-use").touch()
    (runtime / "images").write_text("abc\n")
    assert removed(runtime)[0] == [f"image quay.io/b:1 {IN_USE} quay.io/b:1"]


@pytest.mark.parametrize("wanted", ["auto", "podman", "off"])
def test_with_a_runtime_that_does_not_work_it_is_said_what_to_do_by_hand(runtime: Path, wanted: str) -> None:
    (runtime / "broken").touch()
    told, done = removed(runtime, wanted)
    assert told == [f"image {name} {BROKEN} {name}" for name in ("quay.io/a:1", "quay.io/b:1")]
    assert done == []


def test_an_agent_without_containers_asks_no_runtime(runtime: Path) -> None:
    (runtime.parent / "state" / FOLDER / LEDGER).unlink()
    assert removed(runtime, "off") == ([], [])
    assert not (runtime / "asked").exists()
    (runtime.parent / "state" / FOLDER).rmdir()
    assert removed(runtime) == ([], [])
