"""A real agent whose spawner dies, whose coordinator restarts, whose certificate runs out, whose files are missing."""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
import tarfile
from pathlib import Path

import pytest

from tests.fakes.agent_coordinator import any_node, coordinator, enrol, pb, types
from tests.fakes.agent_process import agent
from tests.support import eventually
from tests.unit.agent.test_daemon import host

pytestmark = pytest.mark.timeout(90)


def test_the_spawners_death_costs_no_task(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with host(tmp_path) as (fake, process):
            fake.want(any_node("j.0.1", "sh", "-c", "echo $$; exec sleep 1000"))
            await fake.running("j.0.1")
            await fake.until(lambda: fake.logs.get("j.0.1"), "pid")
            first = process.spawner_pid()
            assert first is not None
            os.kill(first, signal.SIGKILL)
            await asyncio.to_thread(
                eventually, lambda: process.spawner_pid() not in (None, first), what="a new spawner"
            )
            os.kill(int(fake.logs["j.0.1"]), 0)
            fake.want(any_node("k.0.1", "true"))
            assert (await fake.ended("k.0.1")).exit_code == 0
            assert fake.statuses["j.0.1"].phase == pb.OBSERVED_PHASE_RUNNING
            os.kill(int(fake.logs["j.0.1"]), signal.SIGKILL)
            ended = await fake.ended("j.0.1")
            assert (ended.cause, ended.exit_code, ended.reason) == (pb.END_CAUSE_EXIT, 137, "")

    asyncio.run(scenario())


def test_a_restarted_coordinator_finds_the_same_process(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with host(tmp_path) as (fake, _):
            fake.want(any_node("j.0.1", "sh", "-c", "echo $$; exec sleep 1000"))
            await fake.running("j.0.1")
            await fake.until(lambda: fake.logs.get("j.0.1"), "pid")
            fake.desired["j.0.1"].started = True
            await fake.stop()
            fake.statuses.clear()
            sessions = len(fake.opened)
            await fake.start()
            await fake.running("j.0.1")
            assert len(fake.opened) == sessions + 1
            assert next(report for report in fake.reports if report.epoch == fake.epoch).complete
            os.kill(int(fake.logs["j.0.1"]), 0)
            assert len(fake.logs["j.0.1"].split()) == 1

    asyncio.run(scenario())


def test_a_report_that_is_refused_as_stale_opens_a_new_session(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with host(tmp_path) as (fake, _):
            await fake.until(lambda: fake.reports, "report")
            fake.epoch += 10
            await fake.until(lambda: len(fake.opened) == 2, "second session")
            fake.want(any_node("j.0.1", "true"))
            assert (await fake.ended("j.0.1")).exit_code == 0

    asyncio.run(scenario())


def test_files_come_with_the_node_and_missing_ones_are_its_reason(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        info = tarfile.TarInfo("src/data.txt")
        info.size = 5
        archive.addfile(info, io.BytesIO(b"hello"))

    async def scenario() -> None:
        async with host(tmp_path) as (fake, _):
            files = types.FileArchive(sha256=fake.keep_archive(buffer.getvalue()))
            fake.want(any_node("j.0.1", "cat", "data.txt", files=files, working_dir="src"))
            assert (await fake.ended("j.0.1")).exit_code == 0
            assert fake.logs["j.0.1"] == b"hello"
            fake.want(any_node("k.0.1", "true", files=types.FileArchive(sha256="0" * 64)))
            ended = await fake.ended("k.0.1")
            assert ended.cause == pb.END_CAUSE_START_FAILED
            assert "could not be fetched: not_found: there is no such archive" in ended.reason

    asyncio.run(scenario())


def test_files_whose_fetch_is_cut_off_are_fetched_again(tmp_path: Path) -> None:
    """A coordinator that dies just then must not make the node fail: nothing is wrong with its files."""

    async def scenario() -> None:
        async with host(tmp_path) as (fake, _):
            buffer = io.BytesIO()
            with tarfile.open(fileobj=buffer, mode="w") as archive:
                archive.addfile(tarfile.TarInfo("empty"), io.BytesIO())
            files = types.FileArchive(sha256=fake.keep_archive(buffer.getvalue()))
            fake.cut_fetches = 2
            fake.want(any_node("j.0.1", "ls", files=files))
            ended = await fake.ended("j.0.1")
            assert (ended.exit_code, ended.reason) == (0, "")
            assert fake.logs["j.0.1"] == b"empty\n"
            assert fake.cut_fetches == 0

    asyncio.run(scenario())


def test_an_ordered_probe_is_reported(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with host(tmp_path) as (fake, _):
            await fake.until(lambda: fake.reports, "report")
            port = fake.opened[-1].peer.port
            target = pb.GangMember(host_id="h-9", endpoint=pb.PeerEndpoint(addresses=["127.0.0.1"], port=port))
            fake.send(pb.OpenSessionResponse(probe=pb.ProbeOrder(targets=[target])))
            await fake.until(lambda: fake.probes, "probe")
            assert (fake.probes[0].reached, fake.probes[0].reason) == (False, "answered by host h-1")

    asyncio.run(scenario())


def test_a_certificate_is_renewed_in_time(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with coordinator(tmp_path / "coordinator") as fake:
            state = tmp_path / "agent"
            enrol(fake.authority, state, "h-1", fake.address)
            record = json.loads((state / "identity.json").read_text())
            # Two thirds of this one's life are over.
            record["not_before"] -= 10 * 86400
            (state / "identity.json").write_text(json.dumps(record))
            before = (state / "credentials.pem").read_bytes()
            async with agent(state) as process:
                await fake.until(lambda: len(fake.opened) == 2, "a session with the new certificate")
                assert (state / "credentials.pem").read_bytes() != before
                assert '"event": "certificate.renewed"' in process.log

    asyncio.run(scenario())


def test_what_the_host_is_and_where_it_listens(tmp_path: Path) -> None:
    async def scenario() -> None:
        stated = ("--region", "eu", "--price", "2.5", "--spot", "--fleet", "f", "--instance-type", "i")
        options = (*stated, "--label", "rack=7", "--cpus", "3")
        async with host(tmp_path, *options) as (fake, process):
            await fake.until(lambda: fake.opened, "session")
            said = fake.opened[0]
            assert (said.facts.fleet, said.facts.instance_type) == ("f", "i")
            assert (said.facts.region, said.facts.price_per_hour, said.facts.spot) == ("eu", 2.5, True)
            assert dict(said.facts.labels) == {"rack": "7"}
            assert said.hardware.cpus == 3
            assert said.hardware.memory_bytes > 0
            assert list(said.peer.addresses) == ["127.0.0.1"]
            assert (process.state_dir / "peer.port").read_text() == f"{said.peer.port}\n"

    asyncio.run(scenario())
