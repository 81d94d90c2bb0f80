"""`agent check` as people run it, over the stubs: what it prints, and what it ends with."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from agent.health.ledger import Ledger
from tests.fakes.agent_coordinator import coordinator, enrol
from tests.fakes.cuda import cuda_env
from tests.fakes.nvml import CRASH, StubGpu, a100, divided, h100, host_env, lost

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.timeout(60)
FIRST, SECOND = str(h100(0).uuid), str(h100(1).uuid)


class Check:
    """The command on a host with these GPUs."""

    def __init__(self, tmp_path: Path, *gpus: StubGpu, **faults: object) -> None:
        self.state = tmp_path / "state"
        self.state.mkdir()
        self.env = os.environ | cuda_env(tmp_path / "cuda", host_env(tmp_path / "nvml", gpus), **faults)

    def __call__(self, *options: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "agent", "check", "--state-dir", str(self.state), *options]
        return subprocess.run(command, env=self.env, capture_output=True, text=True, timeout=50, check=False)

    def json(self, *options: str) -> dict[str, Any]:
        said = self(*options, "--json")
        assert said.stderr == ""
        found = json.loads(said.stdout)
        assert isinstance(found, dict)
        return {**found, "code": said.returncode}


def test_sound_gpus_are_fit_for_work(tmp_path: Path) -> None:
    check = Check(tmp_path, h100(0), replace(h100(1), nvlinks=18))
    said = check()
    assert said.returncode == 0, said.stdout + said.stderr
    assert f"GPU 1  NVIDIA H100 80GB HBM3  {SECOND}  fit for work" in said.stdout
    assert "no uncorrectable memory errors, no recovery asked for, PCIe x16, 18 NVLinks up, 30 °C" in said.stdout


def test_each_gpu_is_judged_by_itself_and_one_that_fails_fails_the_check(tmp_path: Path) -> None:
    check = Check(tmp_path, replace(h100(0), pcie_width=8), replace(h100(1), remapped="0,9,0,1"), lost(h100(2)))
    found = check.json()
    assert found["code"] == 1
    assert [gpu["fit"] for gpu in found["gpus"]] == [True, False, False]
    topics = [{finding["topic"]: finding["level"] for finding in gpu["findings"]} for gpu in found["gpus"]]
    assert topics == [{"pcie-width": "warn"}, {"remap-failed": "error"}, {"driver": "error"}]
    assert check.json("--gpu", FIRST)["code"] == check.json("--gpu", "0")["code"] == 0


def test_a_burn_gives_work_to_all_that_can_have_it_at_once(tmp_path: Path) -> None:
    check = Check(tmp_path, h100(0), divided(a100(1), "3g.20gb"), lost(h100(2)))
    found = check.json("--burn", "0.1s")
    assert found["code"] == 1
    assert [gpu["fit"] for gpu in found["gpus"]] == [True, True, False]
    works = [gpu["burn"] and [work["name"] for work in gpu["burn"]["works"]] for gpu in found["gpus"]]
    assert works == [["memory", "arithmetic", "tensor"]] * 2 + [None]
    assert check.json("--burn", "0.1s", "--gpu", FIRST)["code"] == 0


def test_a_gpu_that_errs_under_load_fails(tmp_path: Path) -> None:
    said = Check(tmp_path, h100(0), wrong="tensor")("--burn", "0.1s")
    assert said.returncode == 1
    assert "wrong results" in said.stdout
    assert f"{FIRST}  not fit for work" in said.stdout


def test_what_is_in_use_is_not_burnt_unless_forced(tmp_path: Path) -> None:
    check = Check(tmp_path, h100(0), replace(h100(1), processes="4711:1048576"))
    ledger = Ledger(check.state, 0.0, 0.0)
    ledger.held = {FIRST: "j-1.0.1"}
    ledger.save(ledger.content())
    for options, who in (
        (("--gpu", "0"), "GPU 0 is held by node j-1.0.1"),
        (("--gpu", "1"), "GPU 1 is used by process 4711"),
    ):
        refused = check("--burn", "0.1s", *options)
        assert (refused.returncode, refused.stdout) == (3, "")
        assert refused.stderr.startswith(f"agent: {who}: wait for its end")
    assert check.json()["code"] == 0, "a look disturbs nobody"
    assert check.json("--burn", "0.1s", "--force", "--gpu", "0")["code"] == 0


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("--gpu", "7"), f"there is no GPU '7' here; there are: 0 ({FIRST})"),
        (("--burn", "0s"), "is no time up to 24h"),
        (("--burn", "x"), "is no time up to 24h"),
        (("--burn", "2d"), "is no time up to 24h"),
    ],
)
def test_what_cannot_be_meant_is_said_with_code_two(tmp_path: Path, options: tuple[str, ...], text: str) -> None:
    said = Check(tmp_path, h100(0))(*options)
    assert said.returncode == 2
    assert text in said.stderr


def test_a_machine_without_a_gpu_has_nothing_to_burn(tmp_path: Path) -> None:
    check = Check(tmp_path)
    assert check().returncode == 0
    said = check("--burn", "1s")
    assert said.returncode == 1
    assert "there is no GPU here that could be given work" in said.stdout


def test_a_driver_that_crashes_is_an_error_of_the_host(tmp_path: Path) -> None:
    found = Check(tmp_path, replace(h100(0), temperature=CRASH)).json()
    assert found["code"] == 1
    assert "nvml-crashed" in found["gpus"][0]["findings"][0]["text"]


def test_it_says_whether_the_coordinator_can_be_reached(tmp_path: Path) -> None:
    check = Check(tmp_path, h100(0))

    async def scenario() -> tuple[dict[str, Any], dict[str, Any]]:
        async with coordinator(tmp_path / "coordinator") as fake:
            enrol(fake.authority, check.state, "h-1", fake.address)
            there = await asyncio.to_thread(check.json)
        return there, await asyncio.to_thread(check.json)

    there, gone = asyncio.run(scenario())
    contact = [next(f for f in found["host"] if f["topic"] == "contact") for found in (there, gone)]
    assert [finding["level"] for finding in contact] == ["ok", "error"]
    assert (there["code"], gone["code"]) == (0, 1)
    assert "can't be reached at 127.0.0.1:" in contact[1]["text"]
