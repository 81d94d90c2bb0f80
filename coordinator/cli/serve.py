"""``coordinator serve``: the only command that reaches the server's side."""

from __future__ import annotations

import os

import click
from rallypoint import failpoints
from rallypoint.environment import unknown_variables

from coordinator.cli.common import say
from coordinator.settings import DEFAULTS, LOG_LEVELS, SettingsError, load_settings

_EPILOG = """Every setting is also read from the environment (RALLYPOINT_LISTEN, RALLYPOINT_LOG_LEVEL, …) and from
coordinator.toml in the data directory (listen = "0.0.0.0:7443"); a flag counts more than the environment, and that more
than the file."""


@click.command("serve", epilog=_EPILOG)
@click.option("--config", metavar="FILE", help="Settings in TOML.  [default: coordinator.toml in the data directory]")
@click.option("--data-dir", metavar="DIR", help="Database, keys, logs.  [default: in the user's state directory]")
@click.option("--listen", metavar="HOST:PORT", help="For commands and joining; port 0: any.  [default: 0.0.0.0:7443]")
@click.option("--agent-listen", metavar="HOST:PORT", help="For agents.  [default: the port after --listen]")
@click.option("--http", metavar="HOST:PORT|off", help="For the web page.  [default: 127.0.0.1:7480]")
@click.option("--install-listen", metavar="HOST:PORT|off", help="For new hosts.  [default: the port after the agents']")
@click.option("--advertise", metavar="NAME,…", help="Names or addresses by which hosts reach this machine.")
@click.option("--advertise-agent-port", metavar="PORT", help="Agents' port as hosts see it, behind a tunnel or NAT.")
@click.option("--database-url", metavar="URL", help="PostgreSQL, without a password here.  [default: SQLite]")
@click.option("--heartbeat", metavar="TIME", help="How often agents report.  [default: 5s]")
@click.option("--suspect", metavar="TIME", help="Silence after which a host is suspect.  [default: 15s]")
@click.option("--lease", metavar="TIME", help="Silence after which a host stops its work.  [default: 30s]")
@click.option("--grace", metavar="TIME", help="Time its work then has to end by itself.  [default: 5s]")
@click.option("--margin", metavar="TIME", help="Time on top of both before work is placed anew.  [default: 1s]")
@click.option("--prepare", metavar="TIME", help="Longest time a group may take to prepare.  [default: 2m]")
@click.option("--probe-interval", metavar="TIME", help="How often hosts probe each other.  [default: 2m]")
@click.option("--certificate-life", metavar="TIME", help="Life of hosts' certificates.  [default: 7d]")
@click.option("--log-limit", metavar="SIZE", help="What is kept of the output of each node.  [default: 256MB]")
@click.option("--archive-keep", metavar="SIZE", help="What jobs' files take once the jobs have ended.  [default: 16GB]")
@click.option("--log-level", metavar="LEVEL", help=f"{', '.join(LOG_LEVELS)}.  [default: info]")
def command(config: str | None, **flags: str | None) -> None:
    """Run a coordinator.

    On first start it makes its keys, its database and an admin context that commands of this user find by themselves,
    and prints the one line that joins a host.
    """
    for warning in unknown_variables(os.environ, "RALLYPOINT_", DEFAULTS, others=("RALLYPOINT_AGENT_",)):
        say(f"Warning: {warning}")
    settings = load_settings(flags, os.environ, config)
    _arm()
    from coordinator.service import run

    run(settings)


def _arm() -> None:
    try:
        place = failpoints.arm("coordinator", os.environ)
    except failpoints.BadFailpoint as error:
        raise SettingsError(str(error)) from None
    if place:
        say(f"Warning: this coordinator is to die at {place}: {failpoints.NAMES[place]}")
