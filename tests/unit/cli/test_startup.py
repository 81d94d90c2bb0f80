"""Commands start quickly because they load little, and every help can be read."""

from __future__ import annotations

import subprocess
import sys

import click
import pytest
from rallypoint.version import __version__

from coordinator.cli.group import COMMANDS, LazyGroup, coordinator
from tests.fakes.job_server import JobServer
from tests.unit.cli.conftest import Command

pytestmark = pytest.mark.timeout(60)

HEAVY = ("rich", "pydantic", "ruamel", "sqlalchemy", "aiohttp", "cryptography", "structlog", "psutil", "jinja2")


def loaded_by(*arguments: str, context: str = "") -> set[str]:
    """Modules in memory after a command, in a process of its own."""
    code = f"import sys; from coordinator.cli.main import run; run({list(arguments)!r}); print(*sys.modules)"
    environ = {"RALLYPOINT_CONTEXT": context, "PATH": "/usr/bin:/bin"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environ, check=True)
    return {name.partition(".")[0] for name in done.stdout.splitlines()[-1].split()}


def test_the_version_loads_next_to_nothing() -> None:
    assert not loaded_by("--version") & {*HEAVY, "click", "grpc", "asyncio", "google"}


def test_ps_loads_nothing_heavy(server: JobServer) -> None:
    assert not loaded_by("ps", context=str(server.context)) & set(HEAVY)


def test_version(command: Command) -> None:
    assert command("--version").out == f"coordinator {__version__}\n"
    assert command("--context", "x", "--version").out == f"coordinator {__version__}\n"


def commands(group: click.Group, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    context = click.Context(group)
    found = []
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        found.append((*path, name))
        if isinstance(command, click.Group):
            found += commands(command, (*path, name))
    return found


@pytest.mark.parametrize("path", [(), *commands(coordinator)], ids=" ".join)
def test_every_help(command: Command, path: tuple[str, ...]) -> None:
    result = command(*path, "--help")
    assert result.code == 0
    assert result.out.startswith(f"Usage: {' '.join(['coordinator', *path])} ")
    assert all(len(line) <= 88 for line in result.out.splitlines())


def test_the_table_and_the_commands_agree() -> None:
    assert isinstance(coordinator, LazyGroup)
    for name in COMMANDS:
        command = coordinator.get_command(click.Context(coordinator), name)
        assert command is not None
        assert command.name == name


def test_without_a_command_the_help_is_shown(command: Command) -> None:
    result = command()
    assert result.code == 2
    assert "submit      Submit a job, follow its output, end with its exit code." in result.out + result.err


def test_an_unknown_command(command: Command) -> None:
    result = command("lsit")
    assert result.code == 2
    assert "No such command 'lsit'" in result.err
