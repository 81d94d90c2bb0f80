"""The table of commands, and the one handler that turns every failure into a line and an exit code."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import NamedTuple

import click
from rallypoint.version import __version__

from coordinator.cli import exits


class _Entry(NamedTuple):
    module: str
    help: str


COMMANDS: dict[str, _Entry] = {
    "submit": _Entry("submit", "Submit a job, follow its output, end with its exit code."),
    "ps": _Entry("ps", "List jobs."),
    "show": _Entry("show", "Show a job and its nodes."),
    "logs": _Entry("logs", "Print a job's output."),
    "retry": _Entry("retry", "Have an ended job's nodes tried again."),
    "stop": _Entry("stop", "Stop jobs."),
    "wait": _Entry("wait", "Wait for a job's end, end with its exit code."),
    "explain": _Entry("explain", "Say for every host why a job runs or does not run there."),
    "cost": _Entry("cost", "Say what was spent: by day, user, backend or job."),
    "hosts": _Entry("hosts", "List hosts."),
    "host": _Entry("host", "Cordon, drain, resume or remove a host."),
    "events": _Entry("events", "Say what happened to hosts and their GPUs."),
    "token": _Entry("token", "Create, list and revoke join tokens."),
    "user": _Entry("user", "Create, list and remove users."),
    "web": _Entry("web", "Print the web page's address."),
    "serve": _Entry("serve", "Run a coordinator."),
    "wheelhouse": _Entry("wheelhouse", "Get packages for hosts that reach no package index."),
    "backup": _Entry("backup", "Write a backup of the coordinator on this machine."),
    "restore": _Entry("restore", "Make a data directory from a backup."),
}


class LazyGroup(click.Group):
    """A group that knows its commands' names and short helps without loading them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the table's order: what is used most comes first."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load the command's module."""
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        command = import_module(f"coordinator.cli.{entry.module}").command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """From the table alone."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.help) for name, entry in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="coordinator", message="%(prog)s %(version)s")
@click.option("--context", metavar="FILE", help="Context file: which coordinator, and your token. [RALLYPOINT_CONTEXT]")
@click.pass_context
def coordinator(ctx: click.Context, context: str | None) -> None:
    """Run jobs on GPU hosts wherever they are.

    The nodes of a job run as a group in one network (placement: cluster), or each on any host (placement: any). Begin
    with 'coordinator serve' on one machine and 'agent join' on each host.
    """
    ctx.obj = context


def execute(arguments: list[str]) -> int:
    """Run one command line and return its exit code."""
    try:
        # Not click's main(): it has its own idea of what a closed pipe and Ctrl-C should end with.
        with coordinator.make_context("coordinator", arguments) as context:
            result = coordinator.invoke(context)
        sys.stdout.flush()
    except click.exceptions.Exit as ended:
        return ended.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        return exits.INTERRUPTED
    except BrokenPipeError:
        _forget_output()
        return exits.BROKEN_PIPE
    except Exception as error:  # the last resort: no traceback ever reaches a user unasked
        return _fail(error)
    return result if isinstance(result, int) else exits.OK


def _forget_output() -> None:
    # Python flushes standard output once more at exit, and would complain about the closed pipe.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fail(error: Exception) -> int:
    from coordinator.cli.reporting import describe

    text, code = describe(error)
    if os.environ.get("RALLYPOINT_DEBUG"):
        import traceback

        traceback.print_exc()
    for line in text.splitlines() or [""]:
        click.echo(f"Error: {line}", err=True)
    return code
