"""Gives GPUs work, each in a process of its own, and looks at them meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from agent.hardware import Gpu, NvmlProbe

_SCRIPT = Path(__file__).with_name("burn_worker.py")
# To begin and to end: contexts of a machine of eight take long, filling 180 GB of memory does, and so does torch.
_SPARE_SECONDS = 90.0
_KILL_SECONDS = 5.0
_LOOK_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Order:
    """How long to work, in which Python (its torch is used if it has one), and for how much longer to wait at most."""

    seconds: float
    python: str = ""
    spare: float = _SPARE_SECONDS


@dataclass(frozen=True, slots=True)
class Work:
    """One kind of work: how many results were wrong, and how much was done a second."""

    name: str
    errors: int
    figure: float | None = None
    unit: str = ""
    detail: str = ""


@dataclass(slots=True)
class Burnt:
    """What became of one GPU's work. ``impossible`` is why it could not be worked, ``broken`` how its process failed.

    ``hottest`` (°C), ``most_watts`` and ``slowdown`` (NVML's mask) are of the time of the work.
    """

    works: list[Work] = field(default_factory=list)
    impossible: str = ""
    broken: str = ""
    hottest: int | None = None
    most_watts: float | None = None
    slowdown: int = 0

    def see(self, gpu: Gpu) -> None:
        """Take in a reading."""
        self.hottest = max((v for v in (self.hottest, gpu.temperature_c) if v is not None), default=None)
        self.most_watts = max((v for v in (self.most_watts, gpu.power_watts) if v is not None), default=None)
        self.slowdown |= (gpu.vitals.slowdown or 0) if gpu.vitals is not None else 0

    def hear(self, line: bytes) -> bool:
        """Take in what the process says; whether it is done. Raises ValueError, TypeError, KeyError for other lines."""
        said: dict[str, Any] = dict(json.loads(line))
        if "impossible" in said:
            self.impossible = str(said["impossible"])
        elif "work" in said:
            self.works.append(_work(said))
        return said.get("done") is True


def _work(said: Mapping[str, Any]) -> Work:
    figure = said.get("figure")
    return Work(
        name=str(said["work"]),
        errors=int(said.get("errors", 0)),
        figure=float(figure) if isinstance(figure, int | float) else None,
        unit=str(said.get("unit", "")),
        detail=str(said.get("detail", "")),
    )


async def burn(gpus: Sequence[Gpu], order: Order, probe: NvmlProbe) -> dict[str, Burnt]:
    """Work these GPUs, all at once, as jobs would; how each did, by uuid. Ends in time whatever they do."""
    found = {gpu.uuid: Burnt() for gpu in gpus}
    looking = asyncio.create_task(_look(found, probe))
    try:
        async with asyncio.TaskGroup() as group:
            for uuid, burnt in found.items():
                group.create_task(_work_one(uuid, order, burnt))
    finally:
        looking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await looking
    return found


async def _look(found: Mapping[str, Burnt], probe: NvmlProbe) -> None:
    while True:
        for gpu in (await probe.read()).gpus:
            if gpu.uuid in found:
                found[gpu.uuid].see(gpu)
        await asyncio.sleep(_LOOK_SECONDS)


async def _work_one(uuid: str, order: Order, burnt: Burnt) -> None:
    try:
        # Isolated: a variable or a file here that is meant for another Python must not break this one.
        process = await asyncio.create_subprocess_exec(
            *(order.python or sys.executable, "-I", str(_SCRIPT)),
            stdin=PIPE,
            stdout=PIPE,
            stderr=DEVNULL,
            env={**os.environ, "CUDA_VISIBLE_DEVICES": uuid},
            start_new_session=True,
        )
    except OSError as error:
        burnt.impossible = f"{order.python or sys.executable} could not be started: {error.strerror}"
        return
    limit = order.seconds + order.spare
    try:
        async with asyncio.timeout(limit):
            await _converse(process, order, burnt)
    except TimeoutError:
        burnt.broken = f"its work did not end within {limit:g} s"
    except (ValueError, TypeError, KeyError) as error:
        burnt.broken = f"its work's process said something that is no answer: {error}"
    finally:
        if not await _killed(process):
            burnt.broken = f"the NVIDIA driver holds process {process.pid} so that it cannot be killed: reboot the host"


async def _converse(process: asyncio.subprocess.Process, order: Order, burnt: Burnt) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    told = {"seconds": order.seconds, "torch": bool(order.python)}
    with contextlib.suppress(ConnectionError):
        # One that is gone shows in its output's end, below.
        process.stdin.write(json.dumps(told).encode() + b"\n")
        await process.stdin.drain()
    while True:
        line = await process.stdout.readline()
        if not line.endswith(b"\n"):
            code = await process.wait()
            burnt.broken = f"its work's process ended with {f'signal {-code}' if code < 0 else f'code {code}'}"
            return
        if burnt.hear(line):
            return


async def _killed(process: asyncio.subprocess.Process) -> bool:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    try:
        async with asyncio.timeout(_KILL_SECONDS):
            await process.wait()
    except TimeoutError:
        return False
    return True


def slowest(found: Iterable[tuple[str, Burnt]], share: float) -> dict[str, list[str]]:
    """Of GPUs that should be alike: whose figures are below ``share`` of the middle one's, and which, by uuid."""
    listed = list(found)
    slow: dict[str, list[str]] = {}
    for name in dict.fromkeys(work.name for _, burnt in listed for work in burnt.works):
        figures = {uuid: w for uuid, burnt in listed for w in burnt.works if w.name == name and w.figure is not None}
        order = sorted(work.figure or 0.0 for work in figures.values())
        if len(order) < 2:
            continue
        middle = order[len(order) // 2]
        for uuid, work in figures.items():
            if (work.figure or 0.0) < share * middle:
                slow.setdefault(uuid, []).append(f"{name}: {work.figure:g} {work.unit}, others {middle:g}")
    return slow
