"""`agent start | stop | restart | status | logs`: the agent of this machine, whoever supervises it."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

if TYPE_CHECKING:
    from agent.supervision import Place, Status

EXIT_FAILED = 1
EXIT_NOT_JOINED = 3
# As systemctl's `status` has it: it does not run.
EXIT_NOT_RUNNING = 3

state_dir_option = click.option(
    "--state-dir",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Where the agent keeps its state. Default: where it was installed to, or in the user's state directory.",
)


def place(state_dir: Path | None) -> Place:
    """How the agent of this state directory, or of the usual one, is supervised."""
    from agent.config import ConfigError, load
    from agent.installation import InstallationDamaged
    from agent.supervision import installed, place_of

    try:
        settings = load({"state_dir": state_dir}, os.environ)
        return place_of(settings.state_dir, installed(settings.state_dir))
    except (ConfigError, InstallationDamaged) as error:
        fail(str(error))


def fail(message: str, code: int = EXIT_FAILED) -> NoReturn:
    """Say it in one line, and end."""
    click.echo(f"agent: {message}", err=True)
    sys.exit(code)


@click.command("start")
@state_dir_option
@click.argument("options", nargs=-1, type=click.UNPROCESSED, metavar="[-- OPTIONS OF 'agent run']")
def start_command(state_dir: Path | None, options: tuple[str, ...]) -> None:
    """Run the agent in the background, started again whenever it dies: for machines without systemd.

    Where systemd has the agent, its unit is started. An agent that runs already is left alone; one whose supervisor
    died gets a new one. What the agent says goes to agent.log in the state directory.
    """
    from agent.identity import IdentityDamaged, NotJoined, load_identity
    from agent.supervision import start
    from agent.units import SupervisionFailed

    where = place(state_dir)
    try:
        load_identity(where.state_dir)
        click.echo(_line(start(where, options)))
    except (NotJoined, IdentityDamaged) as error:
        fail(str(error), EXIT_NOT_JOINED)
    except SupervisionFailed as error:
        fail(str(error))


@click.command("stop")
@state_dir_option
def stop_command(state_dir: Path | None) -> None:
    """Stop the agent. What runs here goes on for the rest of its lease, unless an agent is back by then."""
    from agent.supervision import stop
    from agent.units import SupervisionFailed

    where = place(state_dir)
    try:
        stop(where)
    except SupervisionFailed as error:
        fail(str(error))
    from agent.left_running import left_running

    click.echo(f"the agent is stopped; {left_running(where.state_dir, time.time())}")


@click.command("restart")
@state_dir_option
def restart_command(state_dir: Path | None) -> None:
    """Stop the agent and start it again, with the release that is installed now. What runs here does not notice."""
    from agent.supervision import restart
    from agent.units import SupervisionFailed

    try:
        restart(place(state_dir))
    except SupervisionFailed as error:
        fail(str(error))
    click.echo("the agent is being restarted; 'agent status' says how it is")


@click.command("status")
@state_dir_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def status_command(state_dir: Path | None, as_json: bool) -> None:
    """Say whether the agent runs here (exit code 0) or not (3), and how it is."""
    from agent.supervision import status
    from agent.units import SupervisionFailed

    try:
        found = status(place(state_dir))
    except SupervisionFailed as error:
        fail(str(error))
    if as_json:
        import json
        from dataclasses import asdict

        click.echo(json.dumps({"version": 1, "agent": asdict(found)}))
    else:
        click.echo(_line(found))
    sys.exit(0 if found.running else EXIT_NOT_RUNNING)


@click.command("logs")
@state_dir_option
@click.option("-f", "--follow", is_flag=True, help="Go on with what is said from now on.")
@click.option(
    "-n", "--lines", type=click.IntRange(0), default=100, show_default=True, help="So many of the last lines."
)
def logs_command(state_dir: Path | None, follow: bool, lines: int) -> None:
    """Print what the agent said: its log in the state directory, or systemd's journal of its unit."""
    from agent.installation import Supervisor
    from agent.supervision import unit_of
    from agent.supervisor.standing import LOG_FILE

    where = place(state_dir)
    if where.kind is not Supervisor.BACKGROUND:
        words = ["--unit", where.unit, "--lines", str(lines), "--no-pager", *(["--follow"] if follow else [])]
        command = unit_of(where).command("journalctl", *words)
        try:
            os.execvp(command[0], command)  # noqa: S606 -- no shell is wanted
        except OSError as error:
            fail(f"{command[0]} can't be run ({error.strerror}); read the journal of {where.unit} otherwise")
    from agent.supervisor.reading import print_log

    try:
        print_log(where.state_dir / LOG_FILE, lines, sys.stdout.buffer, follow)
    except OSError as error:
        fail(f"{where.state_dir / LOG_FILE} can't be read ({error.strerror}); was the agent started by 'agent start'?")
    except KeyboardInterrupt:
        sys.exit(130)


def _line(found: Status) -> str:
    if found.running:
        since = f" since {_moment(found.since)}" if found.since else ""
        again = f", started {found.restarts} times again" if found.restarts else ""
        says = f": {found.says}" if found.says else ""
        return f"the agent runs (pid {found.agent}{since}{again}){says}"
    code = "" if found.last_code is None else f", last exit code {found.last_code}"
    if found.next_start:
        return f"the agent does not run{code}: {found.says}; it is started again at {_moment(found.next_start)}"
    return f"the agent does not run ({found.phase}{code}){': ' + found.says if found.says else ''}"


def _moment(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))


COMMANDS = (start_command, stop_command, restart_command, status_command, logs_command)
