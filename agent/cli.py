"""The `agent` command. Nothing heavy is imported before a command needs it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from agent import cli_running, cli_uninstall
from agent.check.command import check_command

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.config import Settings

# Exit codes of `agent run`; those of `agent join` are in `agent.join_exit`.
EXIT_CONFIG = 2
EXIT_NOT_JOINED = 3
EXIT_ALREADY_RUNNING = 4
EXIT_PEER_PORT = 5
EXIT_SPAWNER = 6
EXIT_REMOVED = 7
EXIT_STATE_DIR = 8

_PATH = click.Path(path_type=Path)


def _version(context: click.Context, _parameter: click.Parameter, wanted: bool) -> None:
    if wanted and not context.resilient_parsing:
        from rallypoint.version import __version__

        click.echo(f"agent {__version__}")
        context.exit()


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version", is_flag=True, expose_value=False, is_eager=True, callback=_version, help="Print the version."
)
def main() -> None:
    """Makes this machine a host of a Rallypoint cluster: join once, then run."""


def _facts(command: Callable[..., None]) -> Callable[..., None]:
    """The options that state facts of a host and how it runs, for `join` and `run` alike."""
    for option in reversed(
        (
            click.option(
                "--config", type=_PATH, metavar="FILE", help="Settings. Default: agent.toml in the state directory."
            ),
            click.option(
                "--peer-listen", metavar="HOST:PORT", help="Where other hosts reach this one. Default: 0.0.0.0:7433."
            ),
            click.option("--backend", metavar="NAME", help="Who provides this machine, e.g. 'aws' or 'rack'."),
            click.option("--region", metavar="NAME", help="Where it is."),
            click.option("--instance-type", metavar="NAME", help="The provider's name for this kind of machine."),
            click.option("--fleet", metavar="NAME", help="A name for a set of machines that it belongs to."),
            click.option("--network", metavar="NAME", help="Its private network. Default: found by probing."),
            click.option("--price", metavar="USD/H", help="What the whole machine costs in USD an hour."),
            click.option("--label", "labels", metavar="K=V", multiple=True, help="A label; may be repeated."),
            click.option("--spot", is_flag=True, default=None, help="The provider may take the machine back."),
            click.option(
                "--ephemeral",
                is_flag=True,
                default=None,
                help="It leaves the cluster when its agent ends, or its lease.",
            ),
            click.option("--cpus", metavar="N", help="CPUs that jobs may use. Default: all."),
            click.option(
                "--master-port-range", metavar="LOW-HIGH", help="Ports for groups' masters. Default: 20000-29999."
            ),
            click.option(
                "--cgroups/--no-cgroups",
                default=None,
                help="Control groups for nodes. Default: if possible.",
            ),
            click.option("--cpu-limit", metavar="WAY", help="Of a node's CPUs: weight (default), hard or off."),
            click.option("--task-pids", metavar="N", help="Processes of a node. Default: 32768, or half the host's."),
            click.option("--task-user", metavar="USER", help="Whom nodes run as. Default: rallypoint-task or nobody."),
            click.option("--allow-users", metavar="USER,...", help="Whom else jobs may name; '*': all but root."),
            click.option("--work-dir", type=_PATH, metavar="DIR", help="Where nodes get their working directories."),
            click.option("--log-keep", metavar="SIZE", help="Kept here of each node's output. Default: 256MB."),
            click.option("--log-keep-all", metavar="SIZE", help="Kept here of all output. Default: 4GB."),
            click.option("--log-rate", metavar="SIZE", help="Output that is sent in a second at most. Default: 16MB."),
            click.option("--disk-reserve", metavar="SIZE", help="Room that new work leaves. Default: 5%, or 1GB."),
            click.option("--archive-keep", metavar="SIZE", help="Kept here of jobs' files. Default: 4GB."),
            click.option(
                "--containers",
                metavar="RUNTIME",
                help="What runs containers: auto, podman, docker or off. Default: auto.",
            ),
            click.option("--allow-privileged", is_flag=True, default=None, help="Jobs may have privileged containers."),
            click.option("--image-keep", metavar="N", help="Images kept of those that were pulled. Default: 20."),
        )
    ):
        command = option(command)
    return command


_STATE_DIR = click.option(
    "--state-dir",
    type=_PATH,
    metavar="DIR",
    help="Where the agent keeps its state. Default: in the user's state directory.",
)


@main.command("run")
@_STATE_DIR
@_facts
@click.option(
    "--coordinator",
    metavar="HOST:PORT",
    multiple=True,
    help="Its port for agents, when it has moved; may be repeated. Default: as told at join.",
)
@click.option("--verbose", is_flag=True, help="Log more.")
def run_command(config: Path | None, verbose: bool, **flags: Any) -> None:
    """Be a host: take work from the coordinator until stopped. Running work survives a restart of the agent.

    Every option can also be set by environment (RALLYPOINT_AGENT_PEER_LISTEN, ...) or in agent.toml (peer_listen, ...).
    """
    settings = _settings(flags, config)
    from rallypoint.console import configure

    configure("debug" if verbose else "info")
    _have_trial_watched(settings)
    _arm()
    _run(settings)


def _have_trial_watched(settings: Settings) -> None:
    """First of all: should this be a new version that can't run, then there is who brings the old one back."""
    import contextlib

    from agent.upgrade.trial import watch_trial

    with contextlib.suppress(OSError):
        watch_trial(settings.state_dir)


def _arm() -> None:
    from rallypoint import failpoints

    try:
        place = failpoints.arm("agent", os.environ)
    except failpoints.BadFailpoint as error:
        _fail(str(error), EXIT_CONFIG)
    if place:
        click.echo(f"agent: warning: this agent is to die at {place}: {failpoints.NAMES[place]}", err=True)


def _settings(flags: dict[str, Any], config: Path | None) -> Settings:
    from agent.config import ConfigError, load, warnings

    for warning in warnings(os.environ):
        click.echo(f"agent: warning: {warning}", err=True)
    try:
        return load(flags, os.environ, config)
    except ConfigError as error:
        _fail(str(error), EXIT_CONFIG)


def _run(settings: Settings) -> None:
    from rallypoint.tls import prepare_grpc

    prepare_grpc()
    from agent import daemon
    from agent.identity import IdentityDamaged, NotJoined
    from agent.lock import AlreadyRunning
    from agent.peer import PeerError
    from agent.runner import SpawnerFailed
    from agent.statedir import StateDirUnsafe, StateDirUnusable
    from agent.users import UserUnusable

    try:
        outcome = daemon.run(settings)
    except (NotJoined, IdentityDamaged) as error:
        _fail(str(error), EXIT_NOT_JOINED)
    except AlreadyRunning as error:
        _fail(str(error), EXIT_ALREADY_RUNNING)
    except (StateDirUnsafe, StateDirUnusable) as error:
        _fail(str(error), EXIT_STATE_DIR)
    except PeerError as error:
        _fail(str(error), EXIT_PEER_PORT)
    except SpawnerFailed as error:
        _fail(str(error), EXIT_SPAWNER)
    except UserUnusable as error:
        _fail(str(error), EXIT_CONFIG)
    if outcome.refused:
        _fail(outcome.refused, EXIT_REMOVED)


@main.command("join")
@click.argument("address", metavar="HOST:PORT[,…]")
@click.option("--token-file", metavar="F", help="File with the join token; '-' for standard input.")
@_STATE_DIR
@click.option("--name", metavar="NAME", help="Name of this host. Default: its host name.")
@_facts
@click.option("--force", is_flag=True, help="Join anew although this host has an identity.")
def join_command(
    address: str, token_file: str | None, config: Path | None, name: str | None, force: bool, **flags: Any
) -> None:
    """Join the cluster whose coordinator listens at HOST:PORT; give all, with commas, where there are several.

    The token is read from --token-file or from RALLYPOINT_JOIN_TOKEN, never from the command line, where others could
    read it. What is stated here (--backend, --price, ...) holds for 'agent run' too. Every option of 'agent run' can
    also be set by environment (RALLYPOINT_AGENT_PEER_LISTEN, ...), then for each command anew.
    """
    settings = _settings({**flags, "name": name}, config)
    import time

    from rallypoint.tls import prepare_grpc

    prepare_grpc()
    from agent.config import save_joined
    from agent.join import JoinOrder, join, read_token
    from agent.join_exit import JoinExit, JoinFailed

    try:
        token = read_token(token_file, os.environ)
        order = JoinOrder(address, token, settings.state_dir, settings.facts, settings.name, force)
        identity = join(order, time.time())
    except JoinFailed as error:
        _fail(str(error), int(error.exit_code))
    stated = {
        key: getattr(settings, key)
        for key, value in flags.items()
        if key != "state_dir" and value not in (None, (), "")
    }
    if config is not None:
        stated["config"] = config.absolute()
    try:
        save_joined(settings.state_dir, stated)
    except OSError as error:
        _fail(f"what was stated can't be kept in {settings.state_dir} ({error.strerror})", int(JoinExit.STATE_DIR))
    who = f"joined as host {identity.host_name} ({identity.host_id})"
    click.echo(f"{who}{_taken(order.asked_name, identity.host_name)}; start it with: {_run_line(flags)}")


def _taken(asked: str, got: str) -> str:
    return f": the name {asked} is taken, this host is {got}" if got.startswith(f"{asked}-") else ""


def _run_line(flags: dict[str, Any]) -> str:
    import shlex

    state_dir = flags.get("state_dir")
    return shlex.join(["agent", "run", *(["--state-dir", str(state_dir)] if state_dir else [])])


@main.command("self-check", hidden=True)
@_STATE_DIR
def self_check_command(state_dir: Path | None) -> None:
    """Say in one line why this version could not run here, if it couldn't; an upgrade asks before it starts it."""
    settings = _settings({"state_dir": state_dir}, None)
    from agent.upgrade.check import CheckFailed, check

    try:
        check(settings)
    except CheckFailed as error:
        _fail(str(error), EXIT_CONFIG)


@main.command("doctor")
@_STATE_DIR
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--verbose", is_flag=True, help="Print full reasons, with paths.")
@click.option("--machine-only", is_flag=True, hidden=True, help="Leave out its place in a cluster.")
def doctor_command(state_dir: Path | None, as_json: bool, verbose: bool, machine_only: bool) -> None:
    """Examine this machine: hardware, drivers, membership; say what is wrong and how to mend it."""
    import asyncio
    import time

    from agent.check.reachable import examine_place
    from agent.containment import examine
    from agent.hardware.doctor import run_doctor
    from agent.whom import examine_users

    settings = _settings({"state_dir": state_dir}, None)
    found = examine(settings.cgroups, settings.cpu_limit)
    found += examine_users(settings, os.environ.get("PATH", os.defpath))
    if not machine_only:
        found += asyncio.run(examine_place(settings.state_dir, time.time(), settings.coordinator))
    sys.exit(run_doctor(found, as_json, verbose))


for _command in (*cli_running.COMMANDS, cli_uninstall.uninstall_command, check_command):
    main.add_command(_command)


def _fail(message: str, code: int) -> NoReturn:
    click.echo(f"agent: {message}", err=True)
    sys.exit(code)


def run() -> None:
    """The `agent` script."""
    main()
