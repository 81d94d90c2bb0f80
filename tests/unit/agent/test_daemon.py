"""A real agent process against a fake coordinator: work comes down, output and exits come up."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from agent.spawner.procs import look
from tests.fakes.agent_coordinator import FakeCoordinator, any_node, coordinator, enrol, pb
from tests.fakes.agent_process import AgentProcess, agent
from tests.support import eventually

pytestmark = pytest.mark.timeout(90)


@asynccontextmanager
async def host(tmp_path: Path, *options: str, **environ: str) -> AsyncIterator[tuple[FakeCoordinator, AgentProcess]]:
    """A coordinator and one agent that has joined it."""
    async with coordinator(tmp_path / "coordinator") as fake:
        enrol(fake.authority, tmp_path / "agent", "h-1", fake.address)
        async with agent(tmp_path / "agent", *options, **environ) as process:
            yield fake, process


def test_a_node_runs_its_output_and_exit_code_arrive_and_its_record_goes(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with host(tmp_path) as (fake, process):
            fake.want(any_node("j.0.1", "sh", "-c", "printf 'a\\0b\\n'; echo err >&2; exit 7"))
            ended = await fake.ended("j.0.1")
            assert (ended.exit_code, ended.cause) == (7, pb.END_CAUSE_EXIT)
            assert ended.started_at <= ended.ended_at
            assert fake.logs["j.0.1"] == b"a\0b\nerr\n"
            assert not (process.state_dir / "work" / "j.0.1").exists()
            fake.want(removed=("j.0.1",))
            await asyncio.to_thread(
                eventually, lambda: not list((process.state_dir / "logs").iterdir()), what="log gone"
            )

    asyncio.run(scenario())


def test_the_environment_is_clean(tmp_path: Path) -> None:
    async def scenario() -> None:
        dirty = {"MASTER_ADDR": "10.9.9.9", "DSTACK_NODES_IPS": "x", "NCCL_SOCKET_IFNAME": "y", "SECRET_OF_AGENT": "z"}
        async with host(tmp_path, "--backend", "rack", **dirty) as (fake, _):
            fake.want(any_node("j.3.1", "env", "-0", env={"LR": "0.1"}))
            await fake.ended("j.3.1")
            env = dict(line.split("=", 1) for line in fake.logs["j.3.1"].decode().split("\0") if line)
            assert dirty.keys().isdisjoint(env)
            assert (env["DSTACK_NODE_RANK"], env["LR"], env["RALLYPOINT_BACKEND"]) == ("3", "0.1", "rack")
            assert env["CUDA_VISIBLE_DEVICES"] == ""

    asyncio.run(scenario())


def test_what_cannot_start_says_why(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with host(tmp_path) as (fake, _):
            fake.want(any_node("j.0.1", "no-such-program"), any_node("k.0.1", "true", working_dir="/nowhere"))
            first, second = await fake.ended("j.0.1"), await fake.ended("k.0.1")
            assert first.cause == second.cause == pb.END_CAUSE_START_FAILED
            assert "'no-such-program' could not be started: no such program in PATH" in first.reason
            assert second.reason == "working directory '/nowhere': No such file or directory"

    asyncio.run(scenario())


def test_stop_ends_the_whole_tree(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with host(tmp_path) as (fake, _):
            fake.want(any_node("j.0.1", "sh", "-c", "setsid sleep 1000 & echo $!; sleep 1000"))
            await fake.running("j.0.1")
            await fake.until(lambda: fake.logs.get("j.0.1"), "the child's pid")
            stop = any_node("j.0.1", "sh")
            stop.phase, stop.stop_reason, stop.stop_grace_seconds = pb.DESIRED_PHASE_STOPPED, "asked to", 5
            fake.want(stop)
            ended = await fake.ended("j.0.1")
            assert (ended.cause, ended.exit_code, ended.reason) == (pb.END_CAUSE_STOPPED, 143, "asked to")
            child = look(int(fake.logs["j.0.1"]))
            assert child is None or not child.alive

    asyncio.run(scenario())


def test_a_started_allocation_without_a_record_is_reported_lost(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with host(tmp_path) as (fake, process):
            order = any_node("j.0.1", "touch", str(tmp_path / "ran"))
            order.started = True
            fake.want(order)
            ended = await fake.ended("j.0.1")
            assert (ended.cause, ended.reason) == (pb.END_CAUSE_HOST, "no record of it on this host")
            assert not (tmp_path / "ran").exists()
            assert "started" not in process.log

    asyncio.run(scenario())


def test_work_goes_on_while_the_agent_is_dead(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with host(tmp_path) as (fake, process):
            gate = tmp_path / "gate"
            os.mkfifo(gate)
            fake.want(any_node("j.0.1", "sh", "-c", f"echo one; read x < {gate}; echo two; exit 5"))
            await fake.running("j.0.1")
            fake.desired["j.0.1"].started = True
            spawner = process.spawner_pid()
            await process.kill()
            fake.statuses.clear()
            await asyncio.to_thread(gate.write_text, "go\n")
            await asyncio.to_thread(eventually, lambda: process.spawner_pid() is None, what="end of the idle spawner")
            await process.start()
            ended = await fake.ended("j.0.1")
            assert (ended.cause, ended.exit_code) == (pb.END_CAUSE_EXIT, 5)
            assert fake.logs["j.0.1"] == b"one\ntwo\n"
            assert spawner is not None

    asyncio.run(scenario())


def test_sigterm_ends_the_agent_and_leaves_the_task(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with host(tmp_path) as (fake, process):
            fake.want(any_node("j.0.1", "sh", "-c", "echo $$; exec sleep 1000"))
            await fake.until(lambda: fake.logs.get("j.0.1"), "pid")
            assert await process.kill(signal.SIGTERM) == 0
            assert fake.reports[-1].goodbye
            os.kill(int(fake.logs["j.0.1"]), 0)
            fake.desired["j.0.1"].started = True
            fake.statuses.clear()
            await process.start()
            await fake.running("j.0.1")
            fake.want(removed=("j.0.1",))
            ended = await fake.ended("j.0.1")
            assert ended.exit_code == 137

    asyncio.run(scenario())


def test_without_answers_the_lease_ends_and_work_is_stopped(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with host(tmp_path) as (fake, _):
            fake.lease, fake.lease_grace = 2.0, 1.0
            fake.want(any_node("j.0.1", "sleep", "1000"))
            await fake.running("j.0.1")
            await fake.stop()
            await asyncio.sleep(2.5)
            fake.lease = 30.0
            await fake.start()
            ended = await fake.ended("j.0.1")
            assert ended.cause == pb.END_CAUSE_HOST
            assert "longer than its lease" in ended.reason

    asyncio.run(scenario())


def test_a_removed_host_says_so_once_and_leaves(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with coordinator(tmp_path / "coordinator") as fake:
            fake.removed = True
            enrol(fake.authority, tmp_path / "agent", "h-1", fake.address)
            async with agent(tmp_path / "agent") as process:
                assert await process.wait() == 7
                assert process.log.splitlines()[-1] == "agent: host h-1 was removed; join again"

    asyncio.run(scenario())


def test_a_second_agent_names_the_first(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with host(tmp_path) as (fake, process):
            await fake.until(lambda: fake.opened, "session")
            second = AgentProcess(process.state_dir)
            await second.start()
            assert await second.wait() == 4
            assert f"agent: an agent (pid {process.pid}) already uses {process.state_dir};" in process.log
            lines = [json.loads(line) for line in process.log.splitlines() if line.startswith("{")]
            assert any(line["event"] == "session.open" for line in lines)

    asyncio.run(scenario())
