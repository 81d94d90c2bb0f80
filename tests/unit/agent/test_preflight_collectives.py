"""The program that measures GPUs and an all-reduce: what is made of its output, and that nothing of it is left."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from agent.checks import LOST, Checks, Ended
from agent.core.model import AllocationId, Desired, DeviceSpeed, Measured, Spec, Wanted
from agent.places import Places
from agent.preflight import torch_check
from agent.preflight.collectives import outcome
from agent.preflight.torch_check import MARK

NODE = Desired(AllocationId("j-1.0.1"), "j-1", "job", 0, 1, Wanted.PREPARED, Spec(), gpu_uuids=("GPU-a", "GPU-b"))


def found(output: str, code: int | None = 0, reason: str = "") -> Measured:
    return outcome(3, NODE, Ended(code, reason, output))


def said(**answer: Any) -> str:
    return f"a warning of torch\n{MARK}{json.dumps(answer)}\n"


def test_gpus_are_told_by_their_uuids() -> None:
    devices = [{"local": 1, "name": "H100", "flops": 6e14}, {"local": 0, "name": "H100", "flops": 5e14}]
    told = found(said(devices=devices, all_reduce=8e11))
    assert told == Measured(
        3, devices=(DeviceSpeed("GPU-b", "H100", 6e14), DeviceSpeed("GPU-a", "H100", 5e14)), all_reduce=8e11
    )


@pytest.mark.parametrize(
    ("output", "code", "reason", "problem", "unable"),
    [
        (said(unable="no torch in /usr/bin/python3"), 0, "", "no torch in /usr/bin/python3", True),
        (said(problem="DistBackendError: NCCL error"), 0, "", "DistBackendError: NCCL error", False),
        ("", None, "'python3' could not be started: not found", "'python3' could not be started: not found", True),
        ("Traceback\nKeyError: 'x'\n", 1, "", "python3 ended with code 1: KeyError: 'x'", False),
        (f"{MARK}[1]\n", 0, "", f"python3 ended with code 0: {MARK}[1]", False),
        (f"{MARK}{{broken\n", 0, "", f"python3 ended with code 0: {MARK}{{broken", False),
        ("", None, "max_duration reached", "max_duration reached", True),
    ],
)
def test_what_it_could_not_say_has_a_reason(
    output: str, code: int | None, reason: str, problem: str, unable: bool
) -> None:
    told = found(output, code, reason)
    assert (told.problem, told.unable, told.devices, told.all_reduce) == (problem, unable, (), None)


class _Torch:
    """A stand-in for torch on a clock of its own: each third product takes five times as long, as on a busy CPU."""

    float16 = float32 = "kind"
    rand = staticmethod(lambda *_, **__: SimpleNamespace(to=lambda _: None))
    cuda = SimpleNamespace(synchronize=lambda _: None)
    set_num_threads = staticmethod(lambda _: None)

    def __init__(self) -> None:
        self.now = 0.0
        self.products = 0

    def mm(self, *_: object) -> None:
        self.products += 1
        self.now += 0.05 if self.products % 3 == 0 else 0.01


@pytest.mark.parametrize(("kind", "size", "taken"), [("cpu", 256, 0.01), ("cuda", 8192, (0.01 * 2 + 0.05) / 3)])
def test_of_a_cpu_the_best_counts_and_of_a_gpu_the_usual(
    monkeypatch: pytest.MonkeyPatch, kind: str, size: int, taken: float
) -> None:
    torch = _Torch()
    monkeypatch.setattr(torch_check.time, "monotonic", lambda: torch.now)
    found = torch_check._product(torch, SimpleNamespace(type=kind), 3.0)
    assert found == pytest.approx(2.0 * size**3 / taken, rel=0.02)


def test_nothing_is_believed_that_can_not_be_a_figure() -> None:
    devices = [{"local": 0, "flops": "much"}, {"local": "x", "flops": 1.0}, {"local": 9, "flops": 2.0}, 7]
    told = found(said(devices=devices, all_reduce=-1.0))
    assert (told.devices, told.all_reduce) == ((DeviceSpeed("", "", 2.0),), None)
    assert found(said(devices=[], all_reduce=float("inf"))).all_reduce is None


def test_a_check_is_forgotten_with_its_output_and_killed_when_nobody_waits_for_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        places = Places(tmp_path)
        places.make()
        sent: list[dict[str, Any]] = []
        checks = Checks(sent.append, places)
        keys = [AllocationId(f"j-1.0.1.preflight.{number}") for number in range(3)]
        runs = [asyncio.create_task(checks.run({"op": "spawn", "id": key})) for key in keys]
        await asyncio.sleep(0)
        for key in keys:
            Path(places.log_of(key)).write_text(f"output of {key}")
        checks.heard({"ev": "started", "id": keys[0]})
        checks.heard({"ev": "exited", "id": keys[0], "code": 0, "reason": ""})
        assert await runs[0] == Ended(0, "", f"output of {keys[0]}")
        runs[1].cancel()
        await asyncio.gather(runs[1], return_exceptions=True)
        assert (sent[-1]["op"], sent[-1]["id"], sent[-1]["signal"]) == ("stop", keys[1], "KILL")
        checks.heard({"ev": "exited", "id": keys[1], "code": 137, "reason": ""})
        assert [order["id"] for order in sent if order["op"] == "forget"] == keys[:2]
        checks.lost()
        assert (await runs[2]).reason == LOST
        assert not any(key in checks for key in keys)
        assert not [path for path in places.logs.iterdir() if "preflight" in path.name]

    asyncio.run(scenario())
