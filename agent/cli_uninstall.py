"""`agent uninstall`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from agent import notices
from agent.cli_running import fail, place, settings_of, state_dir_option

if TYPE_CHECKING:
    from agent.installation import Installation

EXIT_STAYED = 1
EXIT_BUSY = 5


@click.command("uninstall")
@state_dir_option
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--keep-logs", is_flag=True, help="Leave nodes' output and the agent's log where they are.")
@click.option("--drain", is_flag=True, help="First have what runs here go elsewhere.")
@click.option("--deadline", metavar="TIME", help="With --drain: until then what runs goes on, and may well end: 30m.")
@click.option("--force", is_flag=True, help="Stop what runs here now; it is tried again elsewhere.")
def uninstall_command(
    state_dir: Path | None, yes: bool, keep_logs: bool, drain: bool, deadline: str | None, force: bool
) -> None:
    """Take the agent off this machine, without a trace; the coordinator forgets the host.

    While work runs here, this is refused (exit code 5) unless --drain or --force says what becomes of it. Where no
    coordinator answers, all is removed here, and how to remove the host there is printed.
    """
    if deadline and not drain:
        raise click.UsageError("--deadline is the time of a drain: give --drain, too")
    try:
        seconds = notices.seconds(deadline) if deadline else 0.0
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--deadline") from None
    from rallypoint import console
    from rallypoint.tls import prepare_grpc

    prepare_grpc()
    # What the agent would log is said in other words here.
    console.configure("error")
    # All of it now: the program is removed while it runs.
    from agent.uninstall import Busy, Uninstaller, Wish
    from agent.units import SupervisionFailed

    settings = settings_of(state_dir)
    where = place(settings)
    installation = _ours(settings.state_dir)
    if not yes:
        what = f"{installation.prefix} and {settings.state_dir}" if installation else str(settings.state_dir)
        _ask(f"Remove {what}, with all that is in there?")
    try:
        stayed = Uninstaller(settings, installation, where, click.echo).run(
            Wish(force, seconds if drain else None, keep_logs)
        )
    except Busy as error:
        fail(str(error), EXIT_BUSY)
    except SupervisionFailed as error:
        fail(str(error))
    if stayed:
        fail(f"could not be removed: {'; '.join(stayed)}", EXIT_STAYED)
    click.echo(
        "removed" if installation else "removed; the program itself was not installed by our installer and stays"
    )


def _ask(question: str) -> None:
    try:
        agreed = click.confirm(question)
    except click.Abort:
        click.echo()
        raise click.UsageError("nothing was removed, for nobody said yes: give --yes") from None
    if not agreed:
        click.echo("nothing was removed")
        sys.exit(EXIT_STAYED)


def _ours(state_dir: Path) -> Installation | None:
    """What the installer made, if this user may remove it."""
    from agent.installation import Mode
    from agent.supervision import installed

    found = installed(state_dir)
    if found is not None and found.mode is Mode.ROOT and os.geteuid() != 0:
        fail(f"{found.prefix} belongs to root: run it as root")
    return found
