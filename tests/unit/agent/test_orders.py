"""What a host makes of an order for one node."""

from __future__ import annotations

from rallypoint.v1 import agent_service_pb2 as pb
from rallypoint.v1 import types_pb2

from agent import environ
from agent.core.model import Desired
from agent.session.convert import desired_update

HOST = environ.Host("h-1", "worker-1", "rack", "north")


def told(program: pb.Program | None) -> Desired:
    spec = types_pb2.JobSpec(nodes=3, placement=types_pb2.PLACEMENT_CLUSTER, commands=["all"], env={"A": "1"})
    members = [pb.GroupMember(rank=rank, address=f"10.0.0.{rank}", slots=1, gpus=rank) for rank in range(3)]
    phase, group = pb.DESIRED_PHASE_RUNNING, pb.Group(members=members)
    order = pb.DesiredAllocation(
        allocation_id="j-1.0.1",
        phase=phase,
        spec=spec,
        program=program,
        group=group,
    )
    return desired_update(pb.DesiredState(allocations=[order])).allocations[0]


def test_a_node_runs_what_its_job_says() -> None:
    desired = told(None)
    assert (desired.spec.commands, desired.spec.env, desired.spec.memory_limit) == (("all",), {"A": "1"}, None)


def test_a_node_with_a_program_of_its_own_runs_that_alone() -> None:
    given = {"RALLYPOINT_VARIANT": "h100", "B": "ours"}
    program = pb.Program(argv=["mine"], env={"B": "2"}, given=given, memory_limit_bytes=1 << 30)
    desired = told(program)
    assert environ.command(desired, "/bin") == ["mine"]
    assert desired.spec.memory_limit == 1 << 30
    files = environ.ClusterFiles("/hostfile", "/bin/launch", "/ticket")
    env = environ.node_environment(desired, HOST, "/w", {"PATH": "/bin"}, files)
    assert (env["RALLYPOINT_VARIANT"], env["B"], "A" in env) == ("h100", "2", False)


def test_all_gpus_are_counted_where_nodes_hold_different_numbers() -> None:
    files = environ.ClusterFiles("/hostfile", "/bin/launch", "/ticket")
    env = environ.node_environment(told(None), HOST, "/w", {"PATH": "/bin"}, files)
    assert (env["DSTACK_GPUS_PER_NODE"], env["DSTACK_GPUS_NUM"]) == ("0", "3")
