"""`agent start | stop | restart | status | logs`: the agent of this machine, whoever supervises it."""

from __future__ import annotations

import math
import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from agent import notices

if TYPE_CHECKING:
    from agent.config import Settings
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


def settings_of(state_dir: Path | None) -> Settings:
    """The settings of the agent of this state directory, or of the usual one."""
    from agent.config import ConfigError, load

    try:
        return load({"state_dir": state_dir}, os.environ)
    except ConfigError as error:
        fail(str(error))


def place(settings: Settings) -> Place:
    """How the agent is supervised."""
    from agent.installation import InstallationDamaged
    from agent.supervision import installed, place_of

    try:
        found = place_of(settings.state_dir, installed(settings.state_dir))
    except InstallationDamaged as error:
        fail(str(error))
    # One that goes when it ends has its work gone first.
    goes = settings.ephemeral or settings.spot
    return replace(found, stop_seconds=found.stop_seconds + settings.leave_within) if goes else found


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
    died gets a new one. OPTIONS are for an agent that does not run, or does not come up: it is tried with them instead
    of those before. What the agent says goes to agent.log in the state directory.
    """
    from agent.identity import IdentityDamaged, NotJoined, load_identity
    from agent.supervision import start, status, stop
    from agent.units import SupervisionFailed

    where = place(settings_of(state_dir))
    try:
        load_identity(where.state_dir)
        if options and (found := status(where)).supervisor:
            if found.ready:
                fail("the agent runs already, with the options of its start: 'agent stop' it first to give others")
            # It never came up, or dies again and again: what is given now is to mend that.
            stop(where)
        click.echo(_line(start(where, options)))
    except (NotJoined, IdentityDamaged) as error:
        fail(str(error), EXIT_NOT_JOINED)
    except SupervisionFailed as error:
        fail(str(error))


@click.command("stop")
@state_dir_option
@click.option("--drain", is_flag=True, help="First have what runs here go elsewhere, as 'coordinator host drain' does.")
@click.option("--deadline", metavar="TIME", help="With --drain: until then what runs goes on, and may well end: 30m.")
def stop_command(state_dir: Path | None, drain: bool, deadline: str | None) -> None:
    """Stop the agent. What runs here goes on for the rest of its lease, unless an agent is back by then.

    With --drain nothing is left running. An ephemeral or spot host is drained in any case, for the time that its
    setting `leave_within` gives; an ephemeral one leaves the list of hosts, too. The next start ends the drain.
    """
    from agent.left_running import left_running, running_tasks
    from agent.supervision import stop
    from agent.units import SupervisionFailed

    if deadline and not drain:
        raise click.UsageError("--deadline is the time of a drain: give --drain, too")
    settings = settings_of(state_dir)
    where = place(settings)
    if drain:
        _drain(settings, deadline)
    kind = "an ephemeral" if settings.ephemeral else "a spot" if settings.spot else ""
    if kind and (count := len(running_tasks(where.state_dir))):
        click.echo(f"what runs here ({nodes(count)}) is stopped first, to go on elsewhere: this is {kind} host")
    try:
        stop(where)
    except SupervisionFailed as error:
        fail(str(error))
    click.echo(f"the agent is stopped; {left_running(where.state_dir, time.time())}")


def _drain(settings: Settings, deadline: str | None) -> None:
    from rallypoint.tls import prepare_grpc

    prepare_grpc()
    from agent.departure import mark_leaving, unmark_leaving
    from agent.farewell import Farewell, Forgotten, Unreachable
    from agent.identity import IdentityDamaged, NotJoined, load_identity

    try:
        seconds = notices.seconds(deadline) if deadline else 0.0
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--deadline") from None
    reason = "'agent stop --drain' was run there"
    mark_leaving(settings.state_dir, reason)
    try:
        farewell = Farewell(load_identity(settings.state_dir), settings.coordinator)
        farewell.drained(seconds, reason, math.inf, lambda left: click.echo(f"waiting for {nodes(left)} to go"))
    except (NotJoined, IdentityDamaged, Forgotten) as error:
        fail(str(error), EXIT_NOT_JOINED)
    except (Unreachable, KeyboardInterrupt) as error:
        unmark_leaving(settings.state_dir)
        why = "interrupted" if isinstance(error, KeyboardInterrupt) else f"no coordinator answers ({error})"
        fail(f"not drained: {why}; the agent goes on: stop it without --drain, or try again")


def nodes(count: int) -> str:
    """``1 node``, ``5 nodes``."""
    return "1 node" if count == 1 else f"{count} nodes"


def times(count: int) -> str:
    """``once``, ``5 times``."""
    return "once" if count == 1 else f"{count} times"


@click.command("restart")
@state_dir_option
def restart_command(state_dir: Path | None) -> None:
    """Stop the agent and start it again, with the release that is installed now. What runs here does not notice."""
    from agent.supervision import restart
    from agent.units import SupervisionFailed

    try:
        restart(place(settings_of(state_dir)))
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
        found = status(place(settings_of(state_dir)))
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

    where = place(settings_of(state_dir))
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
        again = f", started again {times(found.restarts)}" if found.restarts else ""
        says = f": {found.says}" if found.says else ""
        return f"the agent runs (pid {found.agent}{since}{again}){says}"
    code = "" if found.last_code is None else f", last exit code {found.last_code}"
    if found.next_start:
        return f"the agent does not run{code}: {found.says}; it is started again at {_moment(found.next_start)}"
    return f"the agent does not run ({found.phase}{code}){': ' + found.says if found.says else ''}"


def _moment(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))


COMMANDS = (start_command, stop_command, restart_command, status_command, logs_command)
