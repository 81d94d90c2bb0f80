"""A real agent over the stub NVML, and what its coordinator hears of GPUs' health: by itself, in time, once."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from rallypoint.v1 import types_pb2 as types

from tests.fakes.agent_coordinator import FakeCoordinator, any_node, coordinator, enrol, pb
from tests.fakes.agent_process import AgentProcess, agent
from tests.fakes.nvml import OTHER_EVENTS, StubGpu, h100, happen, host_env, lost, write_scenario
from tests.support import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.timeout(90)
FIRST, SECOND = str(h100(0).uuid), str(h100(1).uuid)


@asynccontextmanager
async def host(tmp_path: Path, *gpus: StubGpu) -> AsyncIterator[tuple[FakeCoordinator, AgentProcess, Path]]:
    """A coordinator, an agent with these GPUs, and the scenario that moves them."""
    env = host_env(tmp_path / "nvml", gpus)
    async with coordinator(tmp_path / "coordinator") as fake:
        enrol(fake.authority, tmp_path / "agent", "h-1", fake.address)
        async with agent(tmp_path / "agent", **env) as process:
            await fake.until(lambda: fake.reports, "a session")
            yield fake, process, tmp_path / "nvml" / "gpus"


def said(fake: FakeCoordinator) -> list[tuple[str, str, int, str]]:
    return [
        (e.gpu_uuid, types.HealthSign.Name(e.sign).removeprefix("HEALTH_SIGN_"), e.code, e.allocation_id)
        for _, e in sorted(fake.health.items())
    ]


def test_an_xid_of_a_running_node_is_heard_at_once_and_outlives_the_agent_that_saw_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with host(tmp_path, h100(0), h100(1)) as (fake, process, gpus):
            assert all(gpu.health_watched and not gpu.conditions for gpu in fake.hardware.gpus)
            node = any_node("j.0.1", "sleep", "1000")
            node.gpu_uuids.append(SECOND)
            fake.want(node)
            await fake.running("j.0.1")
            happen(gpus, gpu=1, xid=94)
            await fake.until(lambda: fake.health, "the XID")
            assert said(fake) == [(SECOND, "XID", 94, "j.0.1")]
            assert fake.health[1].seconds_ago < 10

            fake.answering = False
            happen(gpus, gpu=0, xid=79)
            kept = process.state_dir / "health.json"
            await asyncio.to_thread(eventually_in, kept, '"code": 79')
            await process.kill()
            fake.answering = True
            await process.start(**host_env(tmp_path / "nvml", [h100(0), h100(1)]))
            await fake.until(lambda: len(fake.health) == 2, "the XID that the killed agent saw")
            assert said(fake)[1] == (FIRST, "XID", 79, "")

    asyncio.run(scenario())


def test_what_happens_to_a_gpu_is_read_soon_after_its_event(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with host(tmp_path, h100(0), h100(1)) as (fake, _, gpus):
            write_scenario(gpus, [replace(h100(0), recovery_action=1, ecc_volatile=1), lost(h100(1))])
            happen(gpus, gpu=0, kind=OTHER_EVENTS)
            await fake.until(lambda: len(fake.health) == 3, "the signs")
            assert sorted(said(fake)) == [
                ("", "GPU_COUNT", 1, ""),
                (FIRST, "ECC_UNCORRECTABLE", 1, ""),
                (SECOND, "OFF_THE_BUS", 0, ""),
            ]
            await fake.until(lambda: fake.hardware.gpus[1].conditions, "the conditions")
            first, second = fake.hardware.gpus
            assert [(c.sign, c.code) for c in first.conditions] == [(types.HEALTH_SIGN_RECOVERY_ACTION, 1)]
            assert [c.sign for c in second.conditions] == [types.HEALTH_SIGN_OFF_THE_BUS]
            assert (first.health_watched, second.health_watched) == (True, False)
            assert [c.sign for c in fake.hardware.conditions] == [types.HEALTH_SIGN_GPU_COUNT]

    asyncio.run(scenario())


def test_a_test_waits_for_the_node_that_has_the_gpu_and_is_answered_once(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with host(tmp_path, h100(0), replace(h100(1), remapped="0,1,0,1")) as (fake, _, _gpus):
            node = any_node("j.0.1", "sleep", "1000")
            node.gpu_uuids.append(FIRST)
            fake.want(node)
            await fake.running("j.0.1")
            order = pb.OpenSessionResponse(test=pb.TestOrder(gpu_uuids=[FIRST], number=7))
            fake.send(order)
            fake.send(order)
            fake.send(pb.OpenSessionResponse(test=pb.TestOrder(gpu_uuids=[SECOND], number=8)))
            await fake.until(lambda: fake.health, "the answer of the GPU that is free")
            assert said(fake) == [(SECOND, "TEST_FAILED", 8, "")]
            assert "could not be remapped" in fake.health[1].detail
            fake.want(removed=("j.0.1",))
            await fake.until(lambda: len(fake.health) > 1, "the answer of the one that was held")
            assert said(fake)[1:] == [(FIRST, "TEST_PASSED", 7, "")]

    asyncio.run(scenario())


def eventually_in(path: Path, text: str) -> None:
    eventually(lambda: path.exists() and text in path.read_text(), what=f"{text} in {path.name}")
