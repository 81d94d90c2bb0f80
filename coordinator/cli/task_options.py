"""The options of ``submit`` that say what the task is; they are the fields of ``coordinator.spec.options.Options``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from coordinator.cli.sections import SectionOption

F = TypeVar("F", bound=Callable[..., Any])

_TASK, _HOSTS, _MANY = "The task", "Resources and hosts", "Many nodes, each with its values"
_WHEN, _FAIRNESS = "When, and for how long", "Before whom, and for how much"


def _option(section: str, *names: str, **settings: Any) -> Callable[[F], F]:
    return click.option(*names, cls=SectionOption, section=section, **settings)


def _several(section: str, name: str, metavar: str, text: str) -> Callable[[F], F]:
    return _option(section, name, multiple=True, metavar=metavar, help=f"{text} Repeatable.")


_OPTIONS: tuple[Callable[[Any], Any], ...] = (
    _option(_TASK, "--name", help="Name of the job."),
    _option(_TASK, "--nodes", metavar="N", help="Number of nodes.  [default: 1]"),
    _option(_TASK, "--placement", metavar="cluster|any", help="One network, or any hosts.  [default: cluster]"),
    _several(_TASK, "--env", "K=V|K", "Variable; K alone takes yours."),
    _several(_TASK, "--files", "PATH", "File or folder to send, or LOCAL:REMOTE."),
    _option(_TASK, "--working-dir", metavar="DIR", help="Where the program runs on the host."),
    _option(_HOSTS, "--gpus", metavar="SPEC", help="GPUs of each node: 1, H100:8, A100:40GB..:2, A100:1/2."),
    _option(_HOSTS, "--cpus", metavar="RANGE", help="CPUs of each node: 4, 4.."),
    _option(_HOSTS, "--memory", metavar="RANGE", help="Memory of each node: 16GB, 512MB.."),
    _several(_HOSTS, "--host", "NAME", "Only these hosts; * and ? stand for anything."),
    _several(_HOSTS, "--label", "K=V", "Only hosts with all these labels."),
    _several(_HOSTS, "--backend", "NAME", "Only hosts of these backends."),
    _several(_HOSTS, "--region", "NAME", "Only hosts in these regions."),
    _several(_HOSTS, "--fleet", "NAME", "Only hosts of these fleets."),
    _option(_HOSTS, "--spot", "spot_policy", flag_value="spot", default=None, help="Only spot hosts."),
    _option(_HOSTS, "--on-demand", "spot_policy", flag_value="on-demand", default=None, help="No spot hosts."),
    _option(_HOSTS, "--max-price", metavar="USD", help="Most that a node may cost an hour."),
    _option(
        _HOSTS, "--optimize", metavar="cost|latency|spread|pack", help="What makes a host better.  [default: cost]"
    ),
    _option(_HOSTS, "--near", metavar="HOST|URL", help="Where the data lives: hosts close to it are better."),
    _several(_MANY, "--grid", "NAME=VALUES", "Parameter: lr=1e-3,1e-4 or seed=1..4; all combinations."),
    _option(_MANY, "--array", metavar="RANGE", help="Numbers: 0-99, 0-99:2, 0-99%8 for 8 at once."),
    _option(_MANY, "--each-line", metavar="FILE", help="A node for each line of a file."),
    _option(_MANY, "--max-running", metavar="N", help="Most nodes that hold hosts at once."),
    _several(_WHEN, "--after", "JOB[:ok|done|failed]", "Start when this job has ended so.  [default: ok]"),
    _option(_WHEN, "--schedule", metavar="CRON", help="Start at these times, in UTC: '0 2 * * *'."),
    _option(_WHEN, "--max-duration", metavar="TIME", help="Longest time a node may run: 90s, 2h, off."),
    _option(_WHEN, "--stop-duration", metavar="TIME", help="Time between the stop signal and the kill."),
    _option(_FAIRNESS, "--priority", metavar="N", help="0 to 100; higher is placed first.  [default: 0]"),
    _option(
        _FAIRNESS,
        "--preemptible",
        flag_value="true",
        default=None,
        help="May be stopped, and tried again, for a job of higher priority.",
    ),
    _option(_FAIRNESS, "--budget", metavar="USD", help="Stop the job when it has cost so much."),
)


def task_options(function: F) -> F:
    """Adds all of them to a command."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function
