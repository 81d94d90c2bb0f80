"""Nodes in containers, by real podman: as without one, whoever of the agent's processes dies meanwhile."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.fakes.agent_coordinator import FakeCoordinator, any_node, coordinator, enrol, pb
from tests.fakes.agent_process import AgentProcess, agent, reaper_of, spawner_of
from tests.fakes.podman import IMAGE, Podman
from tests.support import eventually

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def podman(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Podman]:
    found = Podman(tmp_path_factory.mktemp("podman") / "own")
    try:
        found.make_image()
        yield found
    finally:
        found.close()


@asynccontextmanager
async def host(tmp_path: Path, podman: Podman, *options: str) -> AsyncIterator[tuple[FakeCoordinator, AgentProcess]]:
    """A coordinator and one agent whose host has podman."""
    async with coordinator(tmp_path / "coordinator") as fake:
        enrol(fake.authority, tmp_path / "agent", "h-1", fake.address)
        options = ("--containers", "podman", *options)
        async with agent(tmp_path / "agent", *options, **podman.environ) as process:
            await has_podman(fake)
            yield fake, process


async def has_podman(fake: FakeCoordinator) -> None:
    def told() -> bool:
        seen = [report.hardware for report in fake.reports] + [hello.hardware for hello in fake.opened]
        return any(hardware.containers.runtime == "podman" for hardware in seen)

    await fake.until(told, "podman in the report of the hardware")


def test_a_container_is_as_a_process_of_the_host(tmp_path: Path, podman: Podman) -> None:
    odd = {"LINES": "one\ntwo\n", "QUOTED": "'\"$HOME`x`\\", "EMPTY": "", "BLANKS": " a ", "LD_X": "plain"}

    async def scenario() -> None:
        async with host(tmp_path, podman) as (fake, process):
            script = "env | cat >all; pwd; cat given; echo err >&2; exit 7"
            order = any_node("j.0.1", image=IMAGE, env=odd, commands=["echo hello >given", script])
            fake.want(order)
            ended = await fake.ended("j.0.1")
            assert (ended.exit_code, ended.cause, ended.reason) == (7, pb.END_CAUSE_EXIT, "")
            work = process.state_dir / "work" / "j.0.1"
            assert fake.logs["j.0.1"].decode() == f"{work}\nhello\nerr\n"
            found = (work / "all").read_text()
            assert "OF_IMAGE=yes\n" in found
            assert "PATH=/bin\n" in found
            assert f"DSTACK_WORKING_DIR={work}\n" in found
            assert "NVIDIA_VISIBLE_DEVICES=void\n" in found
            for name, value in odd.items():
                assert f"{name}={value}\n" in found
            assert "SECRET" not in found
            assert podman.containers() == []
            assert not (process.state_dir / "containers" / "j.0.1").exists()

    asyncio.run(scenario())


@pytest.mark.parametrize("victims", ["agent", "spawner", "spawner and reaper", "all"])
def test_a_container_outlives_who_started_it(tmp_path: Path, podman: Podman, victims: str) -> None:
    async def scenario() -> None:
        async with host(tmp_path, podman) as (fake, process):
            gate = process.state_dir / "work" / "j.0.1" / "gate"
            fake.want(
                any_node(
                    "j.0.1",
                    image=IMAGE,
                    commands=["echo one; while ! [ -e gate ]; do sleep 0.05; done", "echo two; exit 5"],
                )
            )
            await fake.until(lambda: fake.logs.get("j.0.1"), "output")
            fake.desired["j.0.1"].started = True
            spawner, reaper = spawner_of(process.state_dir), reaper_of(process.state_dir)
            assert spawner is not None
            assert reaper is not None
            if victims in ("agent", "all"):
                await process.kill()
            if victims in ("spawner and reaper", "all"):
                os.kill(reaper, signal.SIGKILL)
            if victims != "agent":
                os.kill(spawner, signal.SIGKILL)
            fake.statuses.clear()
            if victims == "all":
                gate.touch()
                await asyncio.to_thread(eventually, lambda: not running(podman), what="end of the container")
            if victims in ("agent", "all"):
                await process.start(**podman.environ)
            await asyncio.sleep(0)
            if victims != "all":
                await asyncio.to_thread(eventually, lambda: spawner_of(process.state_dir), what="a spawner")
                gate.touch()
            ended = await fake.ended("j.0.1")
            assert (ended.cause, ended.exit_code, ended.reason) == (pb.END_CAUSE_EXIT, 5, "")
            assert fake.logs["j.0.1"] == b"one\ntwo\n"
            await asyncio.to_thread(eventually, lambda: podman.containers() == [], what="nothing left")

    asyncio.run(scenario())


def running(podman: Podman) -> str:
    return podman("ps", "--format", "{{.Names}}")
