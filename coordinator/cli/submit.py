"""``coordinator submit``: from a task file or a command line to a job's exit code."""

from __future__ import annotations

import os
import shlex
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from coordinator.cli import exits
from coordinator.cli.common import connect, document, say
from coordinator.cli.reporting import CommandFailed
from coordinator.cli.sections import Sectioned
from coordinator.cli.task_options import task_options

if TYPE_CHECKING:
    from rallypoint.v1 import job_service_pb2 as job_pb
    from rallypoint.v1 import types_pb2 as pb

    from coordinator.client import Client
    from coordinator.spec.task import Task

_PROGRAM = "rallypoint.program"
# An agent gives each of podman and docker 15 s to answer.
_LOOK_SECONDS = 40.0
_LOOK_PAUSE = 0.1
_EPILOG = """\b
Examples:
  coordinator submit job.yml
  coordinator submit job.yml --nodes 8 --env SEED=2
  coordinator submit --nodes 4 --placement any --gpus 1 --files train.py \\
      -- python train.py --lr 0.1
  coordinator submit job.yml --grid lr=1e-3,1e-4 --grid seed=1..4
  coordinator submit --array 0-99%8 -- sh -c 'work $RALLYPOINT_ARRAY_INDEX'

Every field of the task file is described in docs/task-file.md, every exit code in docs/cli.md."""


class _ProgramAfterDashes(Sectioned):
    """Keeps what comes after ``--`` apart: click would mix it with what comes before."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        before = args.index("--") if "--" in args else len(args)
        ctx.meta[_PROGRAM] = tuple(args[before + 1 :])
        if {"--spot", "--on-demand"} <= set(args[:before]):
            raise click.UsageError("--spot and --on-demand exclude each other: give one of both, or neither", ctx)
        return super().parse_args(ctx, args[:before])


@click.command("submit", epilog=_EPILOG, cls=_ProgramAfterDashes)
@click.argument("file", metavar="[FILE | -- PROGRAM ARGUMENT...]", nargs=-1)
@task_options
@click.option("-d", "--detach", is_flag=True, help="Print the job's id, alone, and end.")
@click.option("--dry-run", is_flag=True, help="Show the plan; submit nothing.")
@click.option("--queue", is_flag=True, help="Submit even if no host could ever hold it: one may join.")
@click.option("--local", is_flag=True, help="Run on this machine, with a coordinator and an agent for this job alone.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output: plan, or job at its end.")
@click.option("--context", metavar="FILE", help="Context file. [RALLYPOINT_CONTEXT]")
def command(
    file: tuple[str, ...],
    detach: bool,
    dry_run: bool,
    queue: bool,
    local: bool,
    as_json: bool,
    context: str | None,
    **options: object,
) -> int:
    """Submit the task in FILE, or a PROGRAM that is executed as it is.

    Shows the plan, follows the job's output, and ends with the job's exit code. Ctrl-C leaves the job running. Options
    override what the file says.
    """
    if local and detach:
        raise click.UsageError("--local and --detach exclude each other: the local coordinator ends with this command")
    task = _task(file, click.get_current_context().meta[_PROGRAM], options)
    mode = _Mode(detach=detach, dry_run=dry_run, queue=queue, local=local, as_json=as_json)
    if not local:
        with connect(context) as client:
            return _submit(client, task, mode)
    from coordinator.cli.local import local_cluster

    with local_cluster(task.spec) as client:
        return _submit(client, task, mode)


@dataclass(frozen=True, slots=True)
class _Mode:
    """What is wanted besides the job."""

    detach: bool
    dry_run: bool
    queue: bool
    local: bool
    as_json: bool


def _task(files: tuple[str, ...], program: tuple[str, ...], given: dict[str, object]) -> Task:
    from coordinator.spec.task import Options, load_task, task_from_command

    options: Options = Options(**given)  # type: ignore[arg-type]  # click's names are those of Options
    if len(files) > 1:
        raise click.UsageError(f"several files; to run a program put '--' before it: -- {' '.join(files)}")
    if files and program:
        raise click.UsageError("both a task file and a program; put the program into the file, or leave the file out")
    if files:
        return load_task(Path(files[0]), options, os.environ)
    if program:
        return task_from_command(program, options, os.environ)
    raise click.UsageError("nothing to submit; name a task file, or a program after '--'")


def _submit(client: Client, task: Task, mode: _Mode) -> int:
    from coordinator.wire import spec_to_pb

    plan = _plan(client, spec_to_pb(task.spec), wait=not mode.queue)
    if mode.dry_run:
        _show_dry_run(plan, mode.as_json)
        return exits.IMPOSSIBLE if plan.impossible else exits.OK
    if plan.impossible and not mode.queue:
        raise CommandFailed(_impossible(plan), exits.IMPOSSIBLE)
    if not mode.as_json and not mode.detach:
        _show_plan(plan)
    _tell_forgotten(task)
    job = client.submit(spec_to_pb(_with_files(client, task).spec))
    if mode.detach:
        click.echo(document(job=job) if mode.as_json else job.id)
        return exits.OK
    return _follow(client, job, mode)


def _plan(client: Client, spec: pb.JobSpec, *, wait: bool) -> job_pb.PlanJobResponse:
    """What would become of the job; an agent that has just started, and does not know yet, is waited for."""
    deadline = time.monotonic() + (_LOOK_SECONDS if wait else 0.0)
    plan = client.plan(spec)
    while plan.undecided and time.monotonic() < deadline:
        time.sleep(_LOOK_PAUSE)
        plan = client.plan(spec)
    return plan


def _tell_forgotten(task: Task) -> None:
    """A program's argument that is a file here, but is not sent: almost always an oversight."""
    forgotten = [arg for arg in task.spec.argv if not os.path.isabs(arg) and os.path.isfile(arg)]
    if forgotten and not task.files and task.spec.working_dir is None:
        name = shlex.quote(forgotten[0])
        say(f"note: {name} is a file here, but is not sent to the hosts; to send it, add: --files {name}")


def _with_files(client: Client, task: Task) -> Task:
    if not task.files:
        return task
    from coordinator.cli import words
    from coordinator.cli.pack import pack
    from coordinator.core.spec import FileArchive

    with pack(task.files) as archive:
        length = archive.seek(0, os.SEEK_END)
        archive.seek(0)
        if length > 20 * 1024**2:
            say(f"sending {words.size(length)} of files")
        stored = client.upload_archive(archive)
    return replace(task, spec=replace(task.spec, files=FileArchive(stored.sha256, stored.size_bytes)))


def _follow(client: Client, job: pb.Job, mode: _Mode) -> int:
    from coordinator.cli.ending import exit_code

    try:
        if not mode.as_json:
            from coordinator.cli.follow import follow

            return exit_code(follow(client, job))
        client.wait(job.id)
        answer = client.job(job.id)
    except KeyboardInterrupt:
        goes_on = f"job {job.id} goes on; follow it: coordinator logs -f {job.id}; end it: coordinator stop {job.id}"
        say("\nstopping: the local coordinator ends with this command" if mode.local else f"\n{goes_on}")
        return exits.INTERRUPTED
    click.echo(document(job=answer.job, nodes=list(answer.nodes)))
    return exit_code(answer.job)


def _show_plan(plan: job_pb.PlanJobResponse) -> None:
    from coordinator.cli.offers import print_offers

    if chosen := [offer for offer in plan.offers if offer.nodes_chosen]:
        print_offers(chosen, verdict=False, to_stderr=True)
    for line in _conclusion(plan):
        say(line)


def _show_dry_run(plan: job_pb.PlanJobResponse, as_json: bool) -> None:
    if as_json:
        click.echo(document(plan=plan))
        return
    from coordinator.cli.offers import print_offers

    if plan.offers:
        print_offers(list(plan.offers), verdict=True)
    for line in _conclusion(plan):
        click.echo(line)


def _conclusion(plan: job_pb.PlanJobResponse) -> list[str]:
    from coordinator.cli import words
    from coordinator.cli.offers import until_done

    if plan.impossible:
        return [_impossible(plan)]
    price = f", {words.price(plan.price_per_hour)} in all" if plan.HasField("price_per_hour") else ""
    price += until_done(plan)
    nodes = "1 node" if plan.nodes_placed == 1 else f"{plan.nodes_placed} nodes"
    # With redundancy there are more places than nodes.
    places = sum(offer.nodes_chosen for offer in plan.offers)
    copies = f" in {places} copies" if places > plan.nodes_placed else ""
    lines = [f"{nodes} would start now{copies}{price}"] if plan.nodes_placed else []
    lines += [plan.links] if plan.links else []
    if plan.spare_hosts:
        lines.append(f"held as spares: {', '.join(plan.spare_hosts)}")
    if plan.waiting_for:
        lines.append(f"waiting: {plan.waiting_for}")
    return [*lines, *(f"note: {warning}" for warning in plan.warnings)]


def _impossible(plan: job_pb.PlanJobResponse) -> str:
    return f"{plan.impossible}; ask for less, join such a host, or wait with --queue"
