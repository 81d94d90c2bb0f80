"""The calls of one channel, when the channel goes away under them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from agent.identity import load_pems
from agent.session import ContactLost, Link
from agent.session.link import Report
from tests.fakes.agent_coordinator import FakeCoordinator, coordinator, enrol, pb

pytestmark = pytest.mark.timeout(30)


class Silent(FakeCoordinator):
    """Takes reports and never answers."""

    async def Report(self, request: pb.ReportRequest, context: Any) -> pb.ReportResponse:
        self.reports.append(request)
        await self._note()
        await asyncio.get_running_loop().create_future()
        raise AssertionError("never")


def test_a_report_whose_channel_is_closed_is_lost_and_cancels_nobody(tmp_path: Path) -> None:
    # gRPC says CancelledError for it. An agent that leaves while its coordinator does would end with a traceback.
    async def scenario() -> None:
        async with coordinator(tmp_path / "coordinator", Silent) as fake:
            link = Link(fake.address, load_pems(enrol(fake.authority, tmp_path / "agent", "h-1", fake.address)))
            report = asyncio.create_task(link.report(Report(1, False, [], goodbye=True), 10.0))
            await fake.until(lambda: fake.reports, "report")
            await link.close()
            with pytest.raises(ContactLost, match="the channel was closed"):
                await report

    asyncio.run(scenario())


def test_a_task_that_is_cancelled_in_a_report_is_cancelled(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with coordinator(tmp_path / "coordinator", Silent) as fake:
            link = Link(fake.address, load_pems(enrol(fake.authority, tmp_path / "agent", "h-1", fake.address)))
            report = asyncio.create_task(link.report(Report(1, False, []), 10.0))
            await fake.until(lambda: fake.reports, "report")
            report.cancel()
            with pytest.raises(asyncio.CancelledError):
                await report
            await link.close()

    asyncio.run(scenario())
