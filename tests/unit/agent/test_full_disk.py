"""A host whose disk is full says so at once, with the place and the reason, so that its nodes run elsewhere."""

from __future__ import annotations

import asyncio
import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.agent_coordinator import any_node, coordinator, enrol, pb, types
from tests.fakes.agent_process import agent
from tests.fakes.small_disk import fill, mounted

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "disk").mkdir()
    with mounted(tmp_path / "disk") as directory:
        yield directory


def test_a_full_state_directory(tmp_path: Path, disk: Path) -> None:
    async def scenario() -> None:
        async with coordinator(tmp_path / "coordinator") as fake:
            enrol(fake.authority, disk / "state", "h-1", fake.address)
            async with agent(disk / "state"):
                await fake.until(lambda: fake.reports, "report")
                fill(disk / "ballast")
                fake.want(any_node("j.0.1", "true"))
                ended = await fake.ended("j.0.1")
                assert ended.cause == pb.END_CAUSE_HOST
                assert str(disk) in ended.reason
                assert "No space left on device" in ended.reason
                (disk / "ballast").unlink()
                fake.want(any_node("j.1.1", "true"))
                assert (await fake.ended("j.1.1")).exit_code == 0

    asyncio.run(scenario())


def test_what_ends_on_a_full_disk_is_told_and_its_output_is_kept(tmp_path: Path, disk: Path) -> None:
    """Room for the record of an end is laid up; no new start may use it."""

    async def scenario() -> None:
        go = tmp_path / "go"
        async with coordinator(tmp_path / "coordinator") as fake:
            enrol(fake.authority, disk / "state", "h-1", fake.address)
            async with agent(disk / "state") as process:
                script = f"echo before; until [ -e {go} ]; do sleep 0.05; done; echo after; exit 7"
                fake.want(any_node("j.0.1", "sh", "-c", script))
                await fake.until(lambda: fake.logs.get("j.0.1") == b"before\n", "output")
                fill(disk / "ballast")
                go.touch()
                ended = await fake.ended("j.0.1")
                assert (ended.cause, ended.exit_code) == (pb.END_CAUSE_EXIT, 7)
                assert fake.logs["j.0.1"].startswith(b"before\n")
                # What is on the disk is what was told: also an agent and a spawner that start anew know the end.
                assert '"code":7' in (disk / "state" / "spawner.journal").read_text()
                await process.kill()

    asyncio.run(scenario())


def test_a_group_on_a_full_disk(tmp_path: Path, disk: Path) -> None:
    """Found when the node is prepared, or when its files are written: never silent."""

    async def scenario() -> None:
        async with coordinator(tmp_path / "coordinator") as fake:
            enrol(fake.authority, disk / "state", "h-1", fake.address)
            async with agent(disk / "state", "--peer-listen", "127.0.0.2:0"):
                order = any_node("j.0.1", "true")
                order.spec.placement = types.PLACEMENT_CLUSTER
                order.phase = pb.DESIRED_PHASE_PREPARED
                fake.want(order)
                await fake.until(
                    lambda: "j.0.1" in fake.statuses and fake.statuses["j.0.1"].phase == pb.OBSERVED_PHASE_PREPARED,
                    "prepared",
                )
                fill(disk / "ballast")
                member = pb.GroupMember(host_id="h-1", host_name="h-1", address="127.0.0.2")
                order.phase = pb.DESIRED_PHASE_RUNNING
                order.group.CopyFrom(
                    pb.Group(generation=1, master_address="127.0.0.2", master_port=20000, members=[member])
                )
                fake.want(order)
                ended = await fake.ended("j.0.1")
                assert ended.cause == pb.END_CAUSE_HOST
                assert ended.reason.startswith("its files could not be laid ready: ")
                assert f"{disk}/state/nodes/j.0.1/hostfile: No space left on device" in ended.reason

    asyncio.run(scenario())


def test_a_full_work_directory(tmp_path: Path, disk: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        info = tarfile.TarInfo("data.bin")
        info.size = 4 << 20
        archive.addfile(info, io.BytesIO(bytes(info.size)))

    async def scenario() -> None:
        async with coordinator(tmp_path / "coordinator") as fake:
            enrol(fake.authority, tmp_path / "state", "h-1", fake.address)
            async with agent(tmp_path / "state", "--work-dir", str(disk)):
                files = types.FileArchive(sha256=fake.keep_archive(buffer.getvalue()))
                fake.want(any_node("j.0.1", "true", files=files))
                ended = await fake.ended("j.0.1")
                assert ended.cause == pb.END_CAUSE_HOST
                assert f"{disk}/j.0.1" in ended.reason
                assert "No space left on device" in ended.reason

    asyncio.run(scenario())
