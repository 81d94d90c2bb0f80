"""The `agent check` command."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from agent.check.examination import Examined
    from agent.config import Settings
    from agent.hardware import Gpu, HardwareReport
    from agent.hardware.diagnosis import Finding, Level

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_IN_USE = 3

_COLOURS: dict[Level, str] = {"ok": "green", "warn": "yellow", "error": "red"}
_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}
_LONGEST = 86400.0


class Seconds(click.ParamType):  # type: ignore[type-arg]
    """A duration such as ``60s`` or ``5m``."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """In seconds."""
        number = value.rstrip("smh") if isinstance(value, str) else value
        unit = value[len(number) :] if isinstance(value, str) else ""
        try:
            seconds = float(number) * _UNITS[unit]
        except (ValueError, KeyError):
            seconds = -1.0
        if not 0 < seconds <= _LONGEST:
            self.fail(f"{value!r} is no time up to 24h, like 60s or 5m", param, ctx)
        return seconds


@click.command("check")
@click.option("--burn", type=Seconds(), metavar="TIME", help="Give the GPUs work for so long, e.g. 60s, and check it.")
@click.option("--gpu", "wanted", multiple=True, metavar="UUID|INDEX", help="Only this GPU; may be repeated.")
@click.option("--force", is_flag=True, help="Burn GPUs that are in use, too: what runs there may fail or be slow.")
@click.option("--python", metavar="PATH", default="", help="A Python whose torch shall multiply matrices, too.")
@click.option(
    "--state-dir",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Where the agent keeps its state. Default: in the user's state directory.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def check_command(
    burn: float | None, wanted: tuple[str, ...], force: bool, python: str, state_dir: Path | None, as_json: bool
) -> None:
    """Are the GPUs of this machine fit for work?

    Looks at the driver, at what it says of each GPU's health, at devices, disks, and the way to the coordinator. With
    --burn each GPU also works for that time: its memory, its arithmetic and tensor units, with results that are known;
    heat, power and slow-downs are watched meanwhile, and GPUs of one kind compared. No package is needed for that.

    Ends with 1 if anything failed, with 3 if a GPU that shall burn is in use.
    """
    import asyncio

    from agent.config import ConfigError, load

    try:
        settings = load({"state_dir": state_dir}, os.environ)
    except ConfigError as error:
        _fail(str(error), EXIT_USAGE)
    sys.exit(asyncio.run(_check(settings, burn, wanted, force, python, as_json)))


async def _check(
    settings: Settings, burn: float | None, wanted: Sequence[str], force: bool, python: str, as_json: bool
) -> int:
    from agent.check.burn import Order
    from agent.check.examination import Xids, examine
    from agent.hardware import NvmlProbe, read_hardware

    xids = Xids()
    async with NvmlProbe(on_event=xids.hear) as probe:
        report = await read_hardware(probe)
        chosen = _chosen(report.gpus, wanted)
        if burn is not None and not force and (users := list(_users(settings.state_dir, chosen))):
            _fail(f"{'; '.join(users)}: wait for its end, name others with --gpu, or give --force", EXIT_IN_USE)
        order = None if burn is None else Order(burn, python)
        examined = await examine(report, chosen, probe, order, xids.of)
    host = await _host(report, settings)
    if burn is not None and not chosen:
        host = (*host, _no_gpu())
    click.echo(_json(host, examined) if as_json else "\n".join(_lines(host, examined)))
    found = [*host, *(finding for one in examined for finding in one.findings)]
    return EXIT_FAILED if any(finding.level == "error" for finding in found) else 0


def _chosen(gpus: Sequence[Gpu], wanted: Sequence[str]) -> list[Gpu]:
    for name in wanted:
        if not any(name in (gpu.uuid, gpu.parent, str(gpu.index)) for gpu in gpus):
            listed = ", ".join(f"{gpu.index} ({gpu.uuid})" for gpu in gpus) or "none"
            _fail(f"there is no GPU {name!r} here; there are: {listed}", EXIT_USAGE)
    return [gpu for gpu in gpus if not wanted or not {gpu.uuid, gpu.parent, str(gpu.index)}.isdisjoint(wanted)]


def _users(state_dir: Path, gpus: Sequence[Gpu]) -> Iterator[str]:
    """Who uses these GPUs: nodes as the agent knows them, and processes as the driver does."""
    from agent.health.ledger import read_held

    held = read_held(state_dir)
    for gpu in gpus:
        allocation = held.get(gpu.uuid)
        processes = gpu.vitals.processes if gpu.vitals is not None else None
        if allocation is not None:
            yield f"GPU {gpu.index} is held by node {allocation}"
        elif processes:
            yield f"GPU {gpu.index} is used by process {', '.join(str(process.pid) for process in processes)}"


async def _host(report: HardwareReport, settings: Settings) -> tuple[Finding, ...]:
    from agent.check.reachable import examine_place
    from agent.hardware import Finding, diagnose, read_driver_facts

    facts = read_driver_facts()
    devices = (
        Finding("error", "devices", f"no access to {name}", "let the agent's user read and write it")
        for name in facts.denied
    )
    return (
        *(finding for finding in diagnose(report, facts) if finding.topic not in ("gpu", "cpu")),
        *devices,
        *await examine_place(settings.state_dir, time.time(), settings.coordinator),
    )


def _no_gpu() -> Finding:
    from agent.hardware import Finding

    return Finding("error", "burn", "there is no GPU here that could be given work", "see 'agent doctor'")


def _lines(host: Sequence[Finding], examined: Sequence[Examined]) -> Iterator[str]:
    for finding in host:
        yield from _told(finding, "host")
    for one in examined:
        for finding in one.findings:
            yield from _told(finding, f"GPU {one.gpu.index}")
    for one in examined:
        verdict = click.style("not fit for work", fg="red") if one.failure else click.style("fit for work", fg="green")
        yield f"GPU {one.gpu.index}  {one.gpu.name or 'unknown model'}  {one.gpu.uuid}  {verdict}"


def _told(finding: Finding, about: str) -> Iterator[str]:
    level = click.style(f"{finding.level:<6}", fg=_COLOURS[finding.level])
    yield f"{level} {about:<7} {finding.topic:<18} {finding.text}"
    if finding.way_out:
        yield f"{'':<34}to mend it: {finding.way_out}"


def _json(host: Sequence[Finding], examined: Sequence[Examined]) -> str:
    import json

    gpus = [
        {
            "uuid": one.gpu.uuid,
            "index": one.gpu.index,
            "name": one.gpu.name,
            "fit": not one.failure,
            "findings": [asdict(finding) for finding in one.findings],
            "burn": None if one.burnt is None else asdict(one.burnt),
        }
        for one in examined
    ]
    return json.dumps({"version": 1, "host": [asdict(finding) for finding in host], "gpus": gpus}, indent=2)


def _fail(message: str, code: int) -> NoReturn:
    click.echo(f"agent: {message}", err=True)
    sys.exit(code)
