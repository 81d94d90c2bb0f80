"""Two real agents: prepared, probed, told of each other, and starting processes for each other as MPI does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from agent.spawner.procs import look
from tests.fakes.agent_coordinator import FakeCoordinator, any_node, coordinator, enrol, pb, types
from tests.fakes.agent_process import agent

pytestmark = pytest.mark.timeout(90)

Order = Callable[[str, int], pb.DesiredAllocation]


class Pair:
    """Hosts h-0 and h-1 of one cluster, each with a coordinator's end of its own."""

    def __init__(self, fakes: list[FakeCoordinator]) -> None:
        self.fakes = fakes

    def endpoint(self, rank: int) -> pb.PeerEndpoint:
        return self.fakes[rank].opened[-1].peer

    async def prepare(self, job: str = "j") -> list[pb.AllocationStatus]:
        """Order both to prepare; what they report."""
        for rank, fake in enumerate(self.fakes):
            other = 1 - rank
            member = pb.GangMember(
                host_id=f"h-{other}", host_name=f"h-{other}", rank=other, endpoint=self.endpoint(other)
            )
            order = self.order(job, rank, "true")
            order.phase = pb.DESIRED_PHASE_PREPARED
            order.members.append(member)
            fake.want(order)
        return [
            await self.phase(rank, f"{job}.{rank}.1", pb.OBSERVED_PHASE_PREPARED) for rank in range(len(self.fakes))
        ]

    async def phase(self, rank: int, key: str, wanted: int) -> pb.AllocationStatus:
        statuses = self.fakes[rank].statuses
        await self.fakes[rank].until(lambda: key in statuses and statuses[key].phase == wanted, f"{key} in {wanted}")
        return statuses[key]

    def order(self, job: str, rank: int, script: str) -> pb.DesiredAllocation:
        order = any_node(f"{job}.{rank}.1", "sh", "-c", script)
        order.spec.nodes, order.spec.placement = 2, types.PLACEMENT_CLUSTER
        return order

    def run(self, job: str, rank: int, script: str, port: int = 20000) -> None:
        """Order one to run as a member of the group of both."""
        members = [
            pb.GroupMember(
                rank=r,
                host_id=f"h-{r}",
                host_name=f"h-{r}",
                address=self.endpoint(r).addresses[0],
                peer_port=self.endpoint(r).port,
            )
            for r in range(2)
        ]
        order = self.order(job, rank, script)
        order.group.CopyFrom(
            pb.Group(generation=1, master_address=members[0].address, master_port=port, members=members)
        )
        self.fakes[rank].want(order)

    async def output(self, rank: int, key: str) -> str:
        log = self.fakes[rank].logs
        await self.fakes[rank].until(lambda: log.get(key, b"").endswith(b"\n"), f"output of {key}")
        return log[key].decode()


@asynccontextmanager
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    """Two running agents on two loop-back addresses."""
    async with AsyncExitStack() as stack:
        fakes = []
        for rank in range(2):
            # Both read the same CA: one cluster.
            fake = await stack.enter_async_context(coordinator(tmp_path / "coordinator"))
            host = tmp_path / f"h-{rank}"
            enrol(fake.authority, host, f"h-{rank}", fake.address)
            listen = f"127.0.0.{rank + 2}:0"
            await stack.enter_async_context(agent(host, "--peer-listen", listen))
            await fake.until(lambda fake=fake: fake.opened, "session")
            fakes.append(fake)
        yield Pair(fakes)


def test_a_gang_is_prepared_probed_and_started(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with pair(tmp_path) as hosts:
            prepared = await hosts.prepare()
            for rank, status in enumerate(prepared):
                assert 20000 <= status.master_port <= 29999
                assert [(p.target_host_id, p.reached) for p in status.probes] == [(f"h-{1 - rank}", True)]
            port = prepared[0].master_port
            script = "env | grep -E '^(MASTER|DSTACK_NODES_IPS|RALLYPOINT_NODE)' -A1 | sort; cat $DSTACK_MPI_HOSTFILE"
            hosts.run("j", 1, script, port)
            ended = await hosts.fakes[1].ended("j.1.1")
            output = (await hosts.output(1, "j.1.1")).splitlines()
            assert ended.exit_code == 0
            assert output[-2:] == ["127.0.0.2 slots=1", "127.0.0.3 slots=1"]
            assert {"MASTER_ADDR=127.0.0.2", f"MASTER_PORT={port}", "RALLYPOINT_NODE_ADDRESS=127.0.0.3"} <= set(output)
            stop = hosts.order("j", 0, "true")
            stop.phase = pb.DESIRED_PHASE_STOPPED
            hosts.fakes[0].want(stop)
            stopped = await hosts.fakes[0].ended("j.0.1")
            assert (stopped.cause, stopped.reason) == (pb.END_CAUSE_STOPPED, "stopped before it started")

    asyncio.run(scenario())


def test_the_launcher_starts_a_process_in_the_other_node(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with pair(tmp_path) as hosts:
            hosts.run("j", 1, "echo main of one; sleep 1000")
            remote = r"echo rank \$DSTACK_NODE_RANK in \$(pwd -P); exit 4"
            daemon = r"setsid sh -c 'echo daemon \$\$; exec sleep 1000' &"
            launch = f'"$OMPI_MCA_plm_rsh_agent" 127.0.0.3 "{remote}"; echo code $?'
            again = f'"$OMPI_MCA_plm_rsh_agent" -x 127.0.0.3 "{daemon}"; echo code $?'
            hosts.run("j", 0, f"({launch}; {again}) 2>&1")
            await hosts.fakes[0].ended("j.0.1")
            assert hosts.fakes[0].logs["j.0.1"].decode() == "code 4\ncode 0\n"
            one = hosts.fakes[1]
            await one.until(lambda: one.logs["j.1.1"].count(b"\n") == 3, "three lines")
            lines = one.logs["j.1.1"].decode().splitlines()
            assert lines[:2] == ["main of one", f"rank 1 in {tmp_path}/h-1/work/j.1.1"]
            pid = int(lines[2].removeprefix("daemon "))
            stop = hosts.order("j", 1, "true")
            stop.phase = pb.DESIRED_PHASE_STOPPED
            one.want(stop)
            await one.ended("j.1.1")
            process = look(pid)
            assert process is None or not process.alive

    asyncio.run(scenario())


def test_nothing_is_started_outside_the_group(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with pair(tmp_path) as hosts:
            hosts.run("other", 1, "echo running; sleep 1000")
            await hosts.output(1, "other.1.1")
            hosts.run("j", 0, '"$OMPI_MCA_plm_rsh_agent" 10.0.0.9 "touch $HOME/x"; echo code $?')
            await hosts.fakes[0].ended("j.0.1")
            assert hosts.fakes[0].logs["j.0.1"].decode() == (
                "rallypoint: host '10.0.0.9' is not in this job's group (127.0.0.2, 127.0.0.3)\ncode 255\n"
            )
            # A ticket that is not its own.
            forged = 'echo \'{"allocation": "k.0.1", "secret": "guess"}\' > t; export RALLYPOINT_LAUNCH_TICKET=$PWD/t; '
            hosts.run("k", 0, forged + '"$OMPI_MCA_plm_rsh_agent" 127.0.0.3 true; echo code $?')
            await hosts.fakes[0].ended("k.0.1")
            assert hosts.fakes[0].logs["k.0.1"].decode() == (
                "rallypoint: k.0.1 is no node of a group on this host\ncode 255\n"
            )

    asyncio.run(scenario())
