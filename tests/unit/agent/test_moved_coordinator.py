"""A coordinator that answers elsewhere than it did when the host joined."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from agent.session.contact import HINT
from tests.fakes.agent_coordinator import coordinator, enrol
from tests.fakes.agent_process import agent
from tests.support import eventually

pytestmark = pytest.mark.timeout(90)


def test_an_agent_says_how_it_is_told_the_new_address_and_takes_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        # The port is held but nobody listens: nothing else can answer there meanwhile.
        with socket.socket() as old:
            old.bind(("127.0.0.1", 0))
            gone = f"127.0.0.1:{old.getsockname()[1]}"
            async with coordinator(tmp_path / "coordinator") as fake:
                enrol(fake.authority, tmp_path / "agent", "h-1", gone)
                async with agent(tmp_path / "agent") as process:
                    await asyncio.to_thread(eventually, lambda: HINT in process.log, what="the hint")
                first = next(line for line in process.log.splitlines() if "session.lost" in line)
                assert HINT not in first
                assert '"reason": "connection refused"' in first
                assert not fake.opened
                async with agent(tmp_path / "agent", "--coordinator", f"{gone},{fake.address}"):
                    await fake.until(lambda: fake.opened, "a session")

    asyncio.run(scenario())
