"""``coordinator stop``: end jobs."""

from __future__ import annotations

import click

from coordinator.cli.common import client_options, connect, document, say


@click.command("stop")
@click.argument("jobs", metavar="JOB...", nargs=-1, required=True)
@click.option("--signal", default="", metavar="NAME", help="Signal instead of the job's own, e.g. INT.")
@click.option("--abort", is_flag=True, help="Kill at once, without a signal and grace first.")
@client_options
def command(jobs: tuple[str, ...], signal: str, abort: bool, context: str | None, as_json: bool) -> None:
    """Stop each JOB: send its stop signal, wait stop_duration, then kill what is left.

    Returns as soon as the stop is on its way; 'coordinator wait JOB' waits for the end.
    """
    if signal and abort:
        raise click.UsageError("--signal and --abort exclude each other: --abort always kills")
    if signal:
        from coordinator.spec.problems import Wrong
        from coordinator.spec.rules import check_signal

        try:
            signal = check_signal(signal)
        except Wrong as wrong:
            raise click.BadParameter(str(wrong), param_hint="--signal") from None
    from coordinator.cli import words

    stopped = []
    with connect(context) as client:
        try:
            for name in jobs:
                stopped.append(client.stop(name, signal=signal, abort=abort))
        finally:
            # What was stopped before one of them failed is told, too.
            if not as_json:
                for job in stopped:
                    say(f"job {job.id} ({job.name}): {words.job_state(job)}")
    if as_json:
        click.echo(document(jobs=stopped))
