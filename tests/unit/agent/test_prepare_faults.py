"""A fault of the agent's own while it prepares a node is that node's end, not its silence."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from agent import environ
from agent.core.model import AllocationId, Cause, Desired, DesiredUpdate, Member, Phase, Probe, Spec, Wanted
from agent.nodes import NodeMaker
from agent.places import Places
from agent.ports import PortKeeper
from agent.users import HostUsers, only_own
from agent.work import Tools, Work

pytestmark = pytest.mark.timeout(30)

KEY = AllocationId("j-1.0.1")


def test_a_node_that_could_not_be_prepared_ends_with_the_reason(tmp_path: Path) -> None:
    async def probe(members: object) -> list[Probe]:
        raise RuntimeError("a bug in the probe")

    async def scenario() -> None:
        places = Places(tmp_path)
        places.make()
        archives: Any = None
        nodes = NodeMaker(places, environ.Host("h-1", "one", "local", "local"), {}, lambda: (), HostUsers(only_own()))
        ports = PortKeeper(20000, 29999)
        measure: Any = None
        tools = Tools(places, nodes, ports, archives, lambda _: None, lambda m: asyncio.create_task(probe(m)), measure)
        changed = asyncio.Event()
        work = Work(tools, lambda urgent: changed.set())
        work.renew(tools.now(), 30.0, 5.0)
        member = Member("h-2", "two", 1, ("10.0.0.2",), 7433)
        spec = Spec(nodes=2, cluster=True, argv=("true",))
        desired = Desired(KEY, "j-1", "job", 0, 1, Wanted.PREPARED, spec, members=(member,))
        work.want(DesiredUpdate(complete=True, allocations=(desired,), removed=()))
        while work.observed[KEY].phase is not Phase.ENDED:
            changed.clear()
            await changed.wait()
        ended = work.observed[KEY]
        assert ended.cause is Cause.HOST
        assert ended.reason == "it could not be prepared: RuntimeError: a bug in the probe"

    asyncio.run(scenario())
