"""A node that says that it is ready: its agent tells the coordinator, also one that was started anew meanwhile."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.fakes.agent_coordinator import any_node, coordinator, enrol, pb, types
from tests.fakes.agent_process import agent

pytestmark = pytest.mark.timeout(90)

KEY = "j.0.1"


def member(script: str, order: types.StartupOrder) -> pb.DesiredAllocation:
    """A group of one."""
    wanted = any_node(KEY, "sh", "-c", script)
    wanted.spec.placement, wanted.spec.startup_order = types.PLACEMENT_CLUSTER, order
    group = pb.Group(generation=1, master_address="127.0.0.1", master_port=20000)
    group.members.add(host_id="h-1", host_name="h-1", address="127.0.0.1")
    wanted.group.CopyFrom(group)
    return wanted


def test_an_announcement_is_reported_at_once_and_again_by_an_agent_that_was_started_anew(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with coordinator(tmp_path / "coordinator") as fake:
            enrol(fake.authority, tmp_path / "agent", "h-1", fake.address)
            async with agent(tmp_path / "agent") as process:
                go = tmp_path / "go"
                script = f'until [ -e {go} ]; do sleep 0.05; done; touch "$RALLYPOINT_READY_FILE"; exec sleep 1000'
                wanted = member(script, types.STARTUP_ORDER_MASTER_FIRST)
                fake.want(wanted)

                def runs(ready: bool) -> bool:
                    seen = fake.statuses.get(KEY)
                    return seen is not None and seen.phase == pb.OBSERVED_PHASE_RUNNING and seen.ready is ready

                await fake.until(lambda: runs(False), "the node running, not ready")
                go.touch()
                await fake.until(lambda: runs(True), "the announcement")
                await process.kill()
                fake.statuses.clear()
                await process.start()
                wanted.started = True
                fake.want(wanted)
                await fake.until(lambda: runs(True), "the announcement, again")

    asyncio.run(scenario())


def test_a_node_for_which_nobody_waits_may_announce_all_the_same(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with coordinator(tmp_path / "coordinator") as fake:
            enrol(fake.authority, tmp_path / "agent", "h-1", fake.address)
            async with agent(tmp_path / "agent"):
                fake.want(member('touch "$RALLYPOINT_READY_FILE" && exit 7', types.STARTUP_ORDER_ANY))
                assert (await fake.ended(KEY)).exit_code == 7

    asyncio.run(scenario())
