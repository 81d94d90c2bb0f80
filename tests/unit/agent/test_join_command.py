"""The command line of ``agent join``: what it refuses before it calls anyone, and what it keeps for ``agent run``."""

from __future__ import annotations

import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from agent.cli import main
from agent.config import load
from coordinator.access.ca import Authority, load_or_create
from tests.fakes.join_server import JoinServer

pytestmark = pytest.mark.timeout(60)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return load_or_create(tmp_path_factory.mktemp("data") / "ca", time.time())


@pytest.fixture(scope="module")
def server(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[JoinServer]:
    with JoinServer(authority, tmp_path_factory.mktemp("server")) as running:
        yield running


def join(server: JoinServer, state_dir: Path, *options: str, address: str = "") -> Result:
    arguments = ["join", address or server.address, "--token-file", "-", "--state-dir", str(state_dir), *options]
    return CliRunner().invoke(main, arguments, input=server.new_token())


def test_a_file_as_state_directory_has_the_code_of_one_that_cannot_be_written(
    server: JoinServer, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    result = join(server, tmp_path / "file")
    assert result.exit_code == 33
    assert result.stderr.startswith(f"agent: state directory {tmp_path / 'file'} can't be written (it is no directory)")
    ran = CliRunner().invoke(main, ["run", "--state-dir", str(tmp_path / "file")])
    assert ran.exit_code == 3


@pytest.mark.parametrize("address", ["coordinator", "host:", "host:port", "http://host:7000", "::1:7000", "host:0"])
def test_an_address_without_a_port_is_a_wrong_command_line(address: str, server: JoinServer, tmp_path: Path) -> None:
    result = join(server, tmp_path, address=address)
    assert result.exit_code == 2
    assert "HOST:PORT" in result.stderr.splitlines()[-1]


def test_whatever_is_said_of_a_host_at_join_holds_when_it_runs(server: JoinServer, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('backend = "rack"\n')
    options = ["--peer-listen", "127.0.0.1:0", "--cpus", "3", "--master-port-range", "30000-30009"]
    options += [
        "--work-dir",
        str(tmp_path / "work"),
        "--config",
        str(tmp_path / "mine.toml"),
        "--price",
        "1.5",
        "--no-cgroups",
    ]
    result = join(server, tmp_path / "state", *options)
    assert result.exit_code == 0, result.stderr
    assert server.requests[-1].facts.backend == "rack"
    found = load({"state_dir": tmp_path / "state"}, {})
    assert (found.peer_listen, found.cpus, found.master_port_range) == ("127.0.0.1:0", 3, (30000, 30009))
    assert (found.work_dir, found.backend, found.price) == (tmp_path / "work", "rack", 1.5)
    assert not found.cgroups
    assert "state_dir" not in tomllib.loads((tmp_path / "state" / "joined.toml").read_text())
    (tmp_path / "other.toml").write_text('backend = "other"\n')
    assert load({"state_dir": tmp_path / "state"}, {}, tmp_path / "other.toml").backend == "other"


def test_a_mistyped_variable_is_named_and_is_no_error(
    server: JoinServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RALLYPOINT_AGENT_BAKEND", "rack")
    result = join(server, tmp_path)
    assert result.exit_code == 0
    assert result.stderr == (
        "agent: warning: the variable RALLYPOINT_AGENT_BAKEND is not known and is passed over;"
        " did you mean RALLYPOINT_AGENT_BACKEND?\n"
    )


def test_the_help_of_join_names_the_environment() -> None:
    assert "RALLYPOINT_AGENT_" in CliRunner().invoke(main, ["join", "--help"]).output


def test_a_name_that_is_taken_is_said_to_be(server: JoinServer, tmp_path: Path) -> None:
    server.taken.add("gpu-7")
    said = join(server, tmp_path / "other", "--name", "gpu-7").stdout
    assert said.startswith(
        "joined as host gpu-7-2 (h-1): the name gpu-7 is taken, this host is gpu-7-2; start it with:"
    )
    assert "is taken" not in join(server, tmp_path / "mine", "--name", "gpu-8").stdout


def test_a_join_that_fails_leaves_no_directory_of_its_own(server: JoinServer, tmp_path: Path) -> None:
    assert join(server, tmp_path / "new" / "state", address="127.0.0.1:1").exit_code == 30
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "mine").mkdir()
    assert join(server, tmp_path / "mine", address="127.0.0.1:1").exit_code == 30
    assert (tmp_path / "mine").is_dir()


def test_what_is_given_in_sizes_at_join_holds_when_it_runs(server: JoinServer, tmp_path: Path) -> None:
    assert join(server, tmp_path, "--log-keep", "300MB").exit_code == 0
    assert load({"state_dir": tmp_path}, {}).log_keep == 300 << 20
