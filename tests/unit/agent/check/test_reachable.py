"""What `agent doctor` and `agent check` say of a host that its coordinator knows, or does not know any more."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from agent.check.reachable import IF_ANEW, examine_place
from agent.membership import JOIN_ANEW
from coordinator.access import ca
from tests.fakes.agent_coordinator import coordinator, enrol

if TYPE_CHECKING:
    from pathlib import Path

    from agent.hardware import Finding

pytestmark = pytest.mark.timeout(60)


def told(findings: tuple[Finding, ...]) -> dict[str, tuple[str, str]]:
    return {finding.topic: (finding.level, finding.way_out) for finding in findings}


def test_a_host_that_was_removed_is_told_so_and_that_it_is_no_member(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with coordinator(tmp_path / "coordinator") as fake:
            state = enrol(fake.authority, tmp_path / "agent", "h-1", fake.address).state_dir
            assert told(await examine_place(state, time.time())) == {"contact": ("ok", ""), "cluster": ("ok", "")}
            assert not fake.reports
            fake.removed = True
            found = await examine_place(state, time.time())
            assert told(found) == {"contact": ("error", JOIN_ANEW), "cluster": ("error", JOIN_ANEW)}
            assert "host h-1 was removed" in found[0].text

    asyncio.run(scenario())


def test_a_coordinator_with_another_ca_is_none_of_this_host(tmp_path: Path) -> None:
    async def scenario() -> None:
        before = ca.load_or_create(tmp_path / "before", time.time())
        async with coordinator(tmp_path / "coordinator") as fake:
            state = enrol(before, tmp_path / "agent", "h-1", fake.address).state_dir
            found = await examine_place(state, time.time())
            assert told(found) == {"contact": ("error", IF_ANEW), "cluster": ("ok", "")}
            assert "another CA" in found[0].text

    asyncio.run(scenario())
