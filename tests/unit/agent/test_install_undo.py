"""The installer's steps: what fails is undone to the last file, and the unit fits the place."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import click
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rallypoint.token import TokenText, format_token

from agent.cli import join_command
from agent.config import load, save_joined
from agent.identity import Identity
from agent.install.errors import CannotInstall
from agent.install.options import SWITCHES, VALUED, JoinOptions, apply
from agent.install.order import parse, read_token
from agent.install.supervision import unit_for
from agent.install.undo import Undo
from agent.installation import Mode, Packages, Supervisor
from tests.support import missing
from tests.unit.agent.test_installation import installation

TOLD = ["--from", "192.0.2.2:7445", "--pin", "ab", "--folder", "/tmp/f", "--wheel", "/tmp/f/w.whl"]
PLACES = st.sampled_from(("a", "a/b", "a/b/c", "old", "old/new", "x/y"))
STEPS = st.lists(st.tuples(st.sampled_from(("directory", "file", "link")), PLACES), max_size=12)


def tree(folder: Path) -> list[tuple[str, int, str]]:
    found = []
    for path in sorted(folder.rglob("*")):
        content = os.readlink(path) if path.is_symlink() else path.read_text() if path.is_file() else ""
        found.append((str(path.relative_to(folder)), path.lstat().st_mode, content))
    return found


def do(undo: Undo, folder: Path, steps: list[tuple[str, str]]) -> None:
    for kind, place in steps:
        path = folder / place
        # A file where a directory is wanted, or the reverse, fails; the rest goes on as the next run would.
        try:
            if kind == "directory":
                undo.directory(path, 0o700)
            elif kind == "file":
                undo.file(path, b"new")
            else:
                undo.link(path, folder / "target")
        except OSError:
            continue


@settings(deadline=None)
@given(STEPS)
def test_a_failure_leaves_what_was_there_before(steps: list[tuple[str, str]]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "old").mkdir()
        (folder / "x").write_text("old")
        before = tree(folder)
        with suppress(CannotInstall), Undo() as undo:
            do(undo, folder, steps)
            raise CannotInstall("the last step failed")
        assert tree(folder) == before


@settings(deadline=None)
@given(STEPS)
def test_what_was_made_is_noted_down_for_uninstalling(steps: list[tuple[str, str]]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "old").mkdir()
        before = {path for path, _, _ in tree(folder)}
        with Undo() as undo:
            do(undo, folder, steps)
            undo.keep()
        created = undo.created
        noted = {*created.dirs, *created.files, *created.links, *created.parents}
        assert {str(folder / path) for path, _, _ in tree(folder)} - {str(folder / path) for path in before} == noted


@settings(deadline=None)
@given(STEPS, STEPS)
def test_what_a_run_made_that_was_killed_is_ours_in_the_next(
    first: list[tuple[str, str]], second: list[tuple[str, str]]
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder, note = Path(name) / "host", Path(name) / "note"
        (folder / "old").mkdir(parents=True)
        killed = Undo()
        killed.write_to(note)
        do(killed, folder, first)
        with Undo() as undo:
            undo.write_to(note)
            do(undo, folder, second)
            undo.keep()
        created = undo.created
        noted = {*created.dirs, *created.files, *created.links, *created.parents}
        assert {str(folder / path) for path, _, _ in tree(folder)} - {str(folder / "old")} == noted
        assert not note.exists()


def test_the_unit_has_the_places_of_the_installation() -> None:
    root = installation(Path("/opt/rallypoint"))
    run = "ExecStart=/opt/rallypoint/current/bin/agent run --state-dir /var/lib/rallypoint/agent"
    assert run in unit_for(root).splitlines()
    mine = replace(
        root, mode=Mode.USER, supervisor=Supervisor.SYSTEMD_USER, prefix=Path("/home/a/p"), state_dir=Path("/home/a/s")
    )
    lines = unit_for(mine).splitlines()
    assert {"ExecStart=/home/a/p/current/bin/agent run --state-dir /home/a/s", "WantedBy=default.target"} <= set(lines)
    roots = ("User=", "Group=", "StateDirectory", "Protect", "Private", "CapabilityBoundingSet", "AmbientCapabilities")
    assert [line for line in lines if line.startswith(roots)] == []
    assert {"Restart=always", "KillMode=process", "RestartPreventExitStatus=7", "Type=notify"} <= set(lines)


def test_a_unit_is_understood_whatever_its_places_are_called(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        missing("the program systemd-analyze", "install it with: apt-get install systemd")
    odd = replace(installation(tmp_path / "my 100% place"), state_dir=tmp_path / 'the "$state" \\of')
    odd.agent.parent.mkdir(parents=True)
    shutil.copy("/bin/true", odd.agent)
    unit = tmp_path / "odd.service"
    unit.write_text(unit_for(odd))
    done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, timeout=60, check=False)
    # Debian 12's systemd is older than that key.
    said = [line for line in done.stderr.splitlines() if "odd.service" in line and "DelegateSubgroup" not in line]
    assert (done.returncode, said) == (0, [])
    (words,) = (line for line in unit_for(odd).splitlines() if line.startswith("ExecStart="))
    assert words.endswith('/the \\"$$state\\" \\\\of"')


def test_options_are_ours_or_agent_joins() -> None:
    order = parse([*TOLD, "--price", "0.5", "--wheelhouse", "--spot", "--label", "a=b"])
    assert (order.packages, order.join.words) == (Packages.WHEELHOUSE, ("--price", "0.5", "--spot", "--label", "a=b"))
    assert order.join.facts == {"price": 0.5, "spot": True, "labels": {"a": "b"}}
    assert parse([*TOLD, "--force"]).join == JoinOptions(("--force",), force=True)


def test_the_installer_knows_the_options_of_join() -> None:
    """It can't ask click, which is not there before the packages are."""
    parameters = [each for each in join_command.params if isinstance(each, click.Option) and not each.multiple]
    switches = {each.opts[0] for each in parameters if each.is_flag}
    assert {f"--{name}" for name in SWITCHES} == switches
    ours = {"--token-file", "--state-dir"}
    assert {f"--{name}" for name in VALUED} == {each.opts[0] for each in parameters} - switches - ours


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--pricee", "0.40"], "there is no option '--pricee'; did you mean '--price'?"),
        (["--wheelhose"], "there is no option '--wheelhose'; did you mean '--wheelhouse'?"),
        (["--price", "cheap"], "--price: 'cheap' is not a price; give USD an hour, like 2.5"),
        (["--label", "rack"], "--labels: ['rack'] are no labels; write KEY=VALUE"),
        (["--spot=yes"], "argument --spot: ignored explicit argument 'yes'"),
        (["--region"], "argument --region: expected one argument"),
    ],
)
def test_a_wrong_option_ends_the_installer_before_anything_is_fetched(
    words: list[str], said: str, tmp_path: Path
) -> None:
    done, folder = second_half(tmp_path, *words)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done
    assert done.stderr.startswith(f"rallypoint: {said}")
    assert not folder.exists()


def test_the_help_names_force_and_leaves_nothing_behind(tmp_path: Path) -> None:
    done, folder = second_half(tmp_path, "--help")
    assert done.returncode == 0
    assert "--force" in done.stdout
    assert not folder.exists()


def second_half(tmp_path: Path, *words: str) -> tuple[subprocess.CompletedProcess[str], Path]:
    """Run it as the seed does; nothing listens where it would fetch from. How it ended, and its temporary folder."""
    folder = tmp_path / "rallypoint-install-x"
    folder.mkdir()
    told = ["--from", "127.0.0.1:1", "--pin", "ab", "--folder", str(folder), "--wheel", "w-1-py3.whl"]
    command = [sys.executable, "-m", "agent.install", *told, *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False), folder


def test_what_is_stated_of_a_host_that_has_joined_holds_from_now_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_joined(tmp_path, {"backend": "rack", "price": 0.5, "labels": {"a": "b"}, "log_keep": 256 << 20})
    (tmp_path / "agent.toml").write_text('region = "here"\n')
    identity = Identity(tmp_path, "h-1", "gpu-7", "c", ("192.0.2.2:7444",), 0.0, 9e9)
    given = parse([*TOLD, "--price", "0.30", "--label", "c=d", "--region", "there", "--name", "gpu-8"]).join
    assert apply(given, identity)
    said = capsys.readouterr().out
    assert "the host's name stays gpu-7" in said
    assert "stated anew of host gpu-7: labels, price, region" in said
    assert "agent.toml sets these too, and it is that which counts: region" in said
    found = load({"state_dir": tmp_path}, {})
    assert (found.backend, found.price, found.region) == ("rack", 0.3, "here")
    assert (found.labels, found.log_keep) == ({"a": "b", "c": "d"}, 256 << 20)
    assert not apply(given, identity)


def test_a_token_of_another_cluster_is_refused_before_anything_is_done(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.touch(0o600)
    file.write_text(format_token(TokenText("other", "p" * 43, "id", "secret")))
    with pytest.raises(CannotInstall, match="the token is for cluster other, the line for cluster ours"):
        read_token(str(file), "ours")
    assert read_token(str(file), "other").startswith("rp1.other.")


def test_a_token_file_of_somebody_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if os.geteuid() != 0:
        missing("the right to give files away", "run the tests as root")
    file = tmp_path / "token"
    file.touch(0o600)
    file.write_text(format_token(TokenText("ours", "p" * 43, "id", "secret")))
    os.chown(file, 54_321, 54_321)
    with pytest.raises(CannotInstall, match="belongs to another user"):
        read_token(str(file), "ours")
    monkeypatch.setenv("SUDO_UID", "54321")
    assert read_token(str(file), "ours").startswith("rp1.ours.")
