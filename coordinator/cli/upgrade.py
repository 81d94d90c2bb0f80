"""``coordinator host upgrade``: agents go over to the coordinator's release, some hosts at a time."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, NamedTuple

import click

from coordinator.cli import exits
from coordinator.cli.common import client_options, connect, document, say
from coordinator.cli.durations import DURATION

if TYPE_CHECKING:
    from rallypoint.v1 import types_pb2 as pb

    from coordinator.client import Client


class Batch(NamedTuple):
    """So many hosts, or else so many percent of them."""

    hosts: int
    percent: float


class _BatchType(click.ParamType[Batch]):
    name = "batch"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Batch:
        """``5``, or ``10%``."""
        if isinstance(value, Batch):
            return value
        text = str(value)
        try:
            batch = Batch(0, float(text.removesuffix("%"))) if text.endswith("%") else Batch(int(text), 0.0)
        except ValueError:
            batch = Batch(0, 0.0)
        if batch.hosts < 1 and not 0.0 < batch.percent <= 100.0:
            self.fail(f"{text!r} is neither a number of hosts nor a part of them; write 5, or 10%", param, ctx)
        return batch


@click.command("upgrade", short_help="Bring agents to the coordinator's release, some hosts at a time.")
@click.argument("hosts", nargs=-1, metavar="[HOST]...")
@click.option("--all", "everything", is_flag=True, help="All hosts.")
@click.option("--batch", type=_BatchType(), default="10%", show_default=True, help="How many at once: 5, or 10%.")
@click.option("--max-failures", type=click.IntRange(0), default=0, show_default=True, help="So many may fail.")
@click.option(
    "--timeout", type=DURATION, default=600.0, metavar="TIME", help="For one host's installation. Default: 10m."
)
@click.option("--detach", is_flag=True, help="Do not wait for the end.")
@click.option("--status", is_flag=True, help="Show the last upgrade.")
@click.option("--cancel", is_flag=True, help="Begin no further host of the upgrade that is under way.")
@client_options
def upgrade(
    hosts: tuple[str, ...],
    everything: bool,
    batch: Batch,
    max_failures: int,
    timeout: float,
    detach: bool,
    status: bool,
    cancel: bool,
    context: str | None,
    as_json: bool,
) -> None:
    """Bring the agents of HOST..., or of --all, to the coordinator's own release; what runs there goes on.

    The hosts of a batch are upgraded at once, and the next batch begins when all of them are done. A host whose new
    agent does not come into contact goes back to its old one. More than --max-failures failures, and the hosts whose
    turn has not come are left as they are. The command waits for the end; interrupted, it leaves the upgrade going.
    """
    if (status and cancel) or ((status or cancel) and (hosts or everything)):
        raise click.UsageError("--status and --cancel stand alone: they are about the last upgrade")
    if not (status or cancel) and bool(hosts) is everything:
        raise click.UsageError("name the hosts to upgrade, or all of them with --all; not both, and not neither")
    with connect(context) as client:
        if status:
            _show(client.upgrade(), as_json)
            return
        if cancel:
            _show(client.cancel_upgrade(), as_json)
            return
        last = client.start_upgrade(
            hosts,
            everything=everything,
            batch=batch.hosts,
            percent=batch.percent,
            max_failures=max_failures,
            install_seconds=timeout,
        )
        if not detach:
            last = _follow(client, last)
    if as_json:
        click.echo(document(upgrade=last))
    elif detach:
        say(f"{_line(last)}; follow it with: coordinator host upgrade --status")
    sys.exit(exits.OK if detach or _is_complete(last, everything) else exits.NOT_ALL_UPGRADED)


def _follow(client: Client, last: pb.Upgrade) -> pb.Upgrade:
    """Say what becomes of each host, until none is at it any more; the upgrade as it ended."""
    from coordinator.cli.output import Screen

    screen = Screen()
    told: set[str] = set()
    try:
        for last in client.watch_upgrade(lambda: screen.say("no contact with the coordinator; trying again")):
            for host in last.hosts:
                if _is_final(host) and host.host_id not in told:
                    told.add(host.host_id)
                    screen.say(f"{host.host_name}: {_fate(host, last)}")
            screen.status(_line(last))
    finally:
        screen.status("")
    if screen.live:
        screen.say(_line(last))
    return last


def _show(last: pb.Upgrade, as_json: bool) -> None:
    if as_json:
        click.echo(document(upgrade=last))
        return
    from coordinator.cli.table import print_table

    say(_line(last))
    rows = [[host.host_name, _step(host), host.from_build, host.reason] for host in last.hosts]
    print_table(["HOST", "STEP", "FROM", "REASON"], rows, important=["HOST", "STEP", "REASON", "FROM"])


def _line(last: pb.Upgrade) -> str:
    from rallypoint.v1 import types_pb2 as pb

    steps = [_step(host) for host in last.hosts]
    counts = ", ".join(f"{steps.count(step)} {step}" for step in dict.fromkeys(sorted(steps)))
    state = {
        pb.UPGRADE_STATE_RUNNING: "under way",
        pb.UPGRADE_STATE_DONE: "ended",
        pb.UPGRADE_STATE_STOPPED: "stopped",
        pb.UPGRADE_STATE_CANCELLED: "cancelled",
    }.get(last.state, "unknown")
    reason = f": {last.reason}" if last.reason else ""
    return f"upgrade to {last.build} {state}{reason} ({counts})"


def _step(host: pb.HostUpgrade) -> str:
    from coordinator.cli.words import upgrade_step

    return upgrade_step(host)


def _fate(host: pb.HostUpgrade, last: pb.Upgrade) -> str:
    from rallypoint.v1 import types_pb2 as pb

    if host.step == pb.UPGRADE_STEP_DONE and not host.reason:
        return f"done, {host.from_build} -> {last.build}"
    return f"{_step(host)}: {host.reason}"


def _is_final(host: pb.HostUpgrade) -> bool:
    from rallypoint.v1 import types_pb2 as pb

    return host.step in (
        pb.UPGRADE_STEP_DONE,
        pb.UPGRADE_STEP_ROLLED_BACK,
        pb.UPGRADE_STEP_FAILED,
        pb.UPGRADE_STEP_SKIPPED,
    )


def _is_complete(last: pb.Upgrade, everything: bool) -> bool:
    """Of all hosts, those count that can be upgraded from here; of those that were named, each."""
    from rallypoint.v1 import types_pb2 as pb

    from coordinator.core.upgrades import CANNOT

    left = [host for host in last.hosts if host.step != pb.UPGRADE_STEP_DONE]
    by_hand = [host.host_name for host in left if everything and host.reason == CANNOT]
    if by_hand:
        say(f"left as they are, for the installer did not install their agents: {', '.join(by_hand)}")
    return len(by_hand) == len(left)
