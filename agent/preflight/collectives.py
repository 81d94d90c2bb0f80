"""``collectives``: has a small program measure a node's GPUs and an all-reduce, as the node itself will run."""

from __future__ import annotations

import json
import math
import secrets
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.core.model import AllocationId, DeviceSpeed, Measured
from agent.preflight import torch_check

if TYPE_CHECKING:
    from agent.checks import Ended
    from agent.core.model import Desired, Group, Measurement
    from agent.nodes import NodeMaker
    from agent.spawner.wire import Message

# Less than the coordinator waits for the answer.
LIMIT_SECONDS = 150.0
SETTINGS = "RALLYPOINT_PREFLIGHT"
# Of what the program says, so much is passed on.
MAX_WORDS = 200


def order(nodes: NodeMaker, desired: Desired, measurement: Measurement, group: Group) -> Message:
    """The spawner's order: the node's own, with its directory, environment, user and limits, but for the program.

    Raises:
        OSError: its files can't be written.
    """
    program = ("python3", "-c", Path(torch_check.__file__).read_text())
    made = nodes.order(replace(desired, group=group, spec=replace(desired.spec, argv=program, commands=())))
    key = AllocationId(f"{desired.id}.preflight.{secrets.token_hex(4)}")
    made |= {"id": key, "log": nodes.places.lay_log(key), "limit": LIMIT_SECONDS}
    environment = made["env"]
    assert isinstance(environment, dict)
    made["env"] = {**environment, SETTINGS: json.dumps(_settings(desired, measurement, group))}
    return made


def _settings(desired: Desired, measurement: Measurement, group: Group) -> dict[str, object]:
    gpus = all(member.gpus for member in group.members)
    counts = [member.gpus if gpus else 1 for member in group.members]
    return {"counts": counts, "rank": desired.rank, "gpus": gpus, "seconds": measurement.seconds}


def outcome(number: int, desired: Desired, ended: Ended) -> Measured:
    """What the program found, of which nothing is believed before it is looked at: anything may have printed it."""
    said = _said(ended.output)
    if said is None:
        return Measured(number, _why_silent(ended)[:MAX_WORDS], unable=ended.code in (None, 126, 127))
    unable = said.get("unable")
    problem = str(unable or said.get("problem") or "")[:MAX_WORDS]
    devices = [_device(desired, each) for each in said.get("devices") or () if isinstance(each, dict)]
    return Measured(
        number,
        problem,
        devices=tuple(device for device in devices if device is not None),
        all_reduce=_figure(said.get("all_reduce")),
        unable=bool(unable),
    )


def _said(output: str) -> dict[str, Any] | None:
    lines = [line for line in output.splitlines() if line.startswith(torch_check.MARK)]
    try:
        said = json.loads(lines[-1].removeprefix(torch_check.MARK)) if lines else None
    except ValueError:
        return None
    return said if isinstance(said, dict) else None


def _why_silent(ended: Ended) -> str:
    if ended.reason:
        return ended.reason
    lines = ended.output.strip().splitlines()
    return f"python3 ended with code {ended.code}" + (f": {lines[-1]}" if lines else "")


def _device(desired: Desired, said: dict[str, Any]) -> DeviceSpeed | None:
    flops, local = _figure(said.get("flops")), said.get("local")
    if flops is None or not isinstance(local, int):
        return None
    gpus = desired.gpu_uuids
    return DeviceSpeed(gpus[local] if 0 <= local < len(gpus) else "", str(said.get("name") or "")[:MAX_WORDS], flops)


def _figure(value: object) -> float | None:
    known = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value > 0
    return float(value) if known else None  # type: ignore[arg-type]
