"""Calls of other tasks over a link that is closed under them: a session that ends must not end its agent."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from rallypoint.v1 import agent_service_pb2 as pb

from agent.core.model import AllocationId
from agent.identity import load_pems
from agent.logs import Chunk, PublishFailed
from agent.session import ContactLost, Link
from tests.fakes.agent_coordinator import FakeCoordinator, coordinator, enrol

pytestmark = pytest.mark.timeout(30)


class Slow(FakeCoordinator):
    """Takes calls and answers none."""

    def hold(self) -> None:
        """Answer nothing from now on."""
        self.called = asyncio.Event()

    async def PublishLogs(self, request: pb.PublishLogsRequest, context: Any) -> pb.PublishLogsResponse:
        self.called.set()
        await asyncio.Event().wait()
        raise AssertionError

    async def RenewCertificate(self, request: pb.RenewCertificateRequest, context: Any) -> pb.RenewCertificateResponse:
        self.called.set()
        await asyncio.Event().wait()
        raise AssertionError

    async def FetchArchive(self, request: pb.FetchArchiveRequest, context: Any) -> Any:
        self.called.set()
        await asyncio.Event().wait()
        yield pb.FetchArchiveResponse()


async def publish(link: Link) -> object:
    return await link.publish([Chunk(AllocationId("j.0.1"), 0, b"output")])


async def renew(link: Link) -> object:
    return await link.renew(b"request")


async def fetch(link: Link) -> object:
    return [piece async for piece in link.archive("0" * 64)]


@pytest.mark.parametrize(("call", "failure"), [(publish, PublishFailed), (renew, ContactLost), (fetch, ContactLost)])
def test_a_call_under_way_fails_when_its_link_is_closed(tmp_path: Path, call: Any, failure: type[Exception]) -> None:
    async def scenario() -> None:
        async with coordinator(tmp_path / "coordinator", Slow) as fake:
            fake.hold()
            link = Link(fake.address, load_pems(enrol(fake.authority, tmp_path / "agent", "h-1", fake.address)))
            task = asyncio.create_task(call(link))
            await fake.called.wait()
            await link.close()
            with pytest.raises(failure, match="the session ended"):
                await task

    asyncio.run(scenario())


def test_a_cancelled_caller_stays_cancelled(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with coordinator(tmp_path / "coordinator", Slow) as fake:
            fake.hold()
            link = Link(fake.address, load_pems(enrol(fake.authority, tmp_path / "agent", "h-1", fake.address)))
            task = asyncio.create_task(publish(link))
            await fake.called.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await link.close()

    asyncio.run(scenario())
