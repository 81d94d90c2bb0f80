"""``coordinator cost``: what was spent."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from coordinator.cli.common import client_options, connect, document

if TYPE_CHECKING:
    from rallypoint.v1 import job_service_pb2 as job_pb


class _Since(click.ParamType[float]):
    name = "since"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The Unix second of a duration ago (``7d``), or of a day's beginning in UTC (``2026-11-23``)."""
        from coordinator.spec.durations import parse_duration
        from coordinator.spec.problems import Wrong

        text = str(value)
        try:
            return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC).timestamp()
        except ValueError:
            pass
        try:
            return datetime.now(UTC).timestamp() - parse_duration(text)
        except Wrong:
            self.fail(f"{text!r} is neither a time such as 7d or 12h nor a day such as 2026-11-23", param, ctx)


@click.command("cost")
@click.option("--by", type=click.Choice(["day", "user", "backend", "job"]), default="day", show_default=True)
@click.option("--since", type=_Since(), default="30d", metavar="7d|DATE", help="From that day on. [default: 30d]")
@click.option("--user", default="", metavar="NAME", help="Of this user's jobs alone.")
@client_options
def command(by: str, since: float, user: str, context: str | None, as_json: bool) -> None:
    """Say what was spent, with what still runs: hosts' prices for the part and the time that jobs held of them.

    Days are UTC. By job: the jobs that had not ended by --since, each with all that it ever cost.
    """
    from rallypoint.v1 import job_service_pb2 as job_pb

    with connect(context) as client:
        answer = client.costs(job_pb.CostsBy.Value(f"COSTS_BY_{by.upper()}"), since=since, user=user)
    if as_json:
        click.echo(document(by=by, costs=list(answer.costs), total=answer.total))
    elif by == "job":
        _print_jobs(answer)
    else:
        _print(by, answer)


def _print(by: str, answer: job_pb.GetCostsResponse) -> None:
    from coordinator.cli import words
    from coordinator.cli.table import print_table

    rows = []
    for each in (*answer.costs, answer.total):
        hours = (f"{seconds / 3600:.1f}" for seconds in (each.gpu_seconds, each.cpu_seconds))
        rows.append((each.name or "total", words.money(each.usd), *hours, str(each.attempts)))
    print_table((by.upper(), "COST", "GPU-HOURS", "CPU-HOURS", "ATTEMPTS"), rows)


def _print_jobs(answer: job_pb.GetCostsResponse) -> None:
    from coordinator.cli import words
    from coordinator.cli.table import print_table

    rows = [(each.name, each.job_name, each.user, words.money(each.usd)) for each in answer.costs]
    print_table(("JOB", "NAME", "USER", "COST"), [*rows, ("total", "", "", words.money(answer.total.usd))])
