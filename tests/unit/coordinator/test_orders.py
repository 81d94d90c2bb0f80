"""What hosts are told of a job."""

from __future__ import annotations

from coordinator.core.desired import Desired
from coordinator.core.ids import HostId, JobId, allocation_id
from coordinator.core.matrix import Axis, Matrix
from coordinator.core.model import Allocation, Job, Phase
from coordinator.core.program import program_of
from coordinator.core.spec import Dependency, HostFilter, JobSpec, Placement, Variant
from coordinator.rpc.orders import SpecCache, orders_to_proto


def test_a_node_is_told_its_own_values_and_nothing_of_the_others_however_many_there_are() -> None:
    matrix = Matrix((Axis("line", tuple(f"secret-{number}" for number in range(10_000))),))
    spec = JobSpec(
        nodes=10_000,
        placement=Placement.ANY,
        commands=("echo ${{ matrix.line }}",),
        matrix=matrix,
        variants=(Variant("big", commands=("echo big",)), Variant("small")),
        where=HostFilter(hosts=("elsewhere",)),
        after=(Dependency("j-7"),),
        schedule="0 2 * * *",
        budget=50.0,
    )
    job = Job(JobId("j-9"), 9, "search", "ann", "", spec, 0.0)
    held = Allocation(
        allocation_id(job.id, 4242, 1), job.id, 4242, 1, HostId("h-1"), 1, 0, (), Phase.RUNNING, variant="small"
    )
    for together in (False, True):
        message = orders_to_proto([Desired(held, job, program=program_of(job, held))], SpecCache(), together)
        sent = message.SerializeToString()
        assert b"secret-4242" in sent
        assert sent.count(b"secret-") == 2, "in its command and in its variable"
        assert b"echo big" not in sent
        assert b"elsewhere" not in sent
        assert b"j-7" not in sent
        assert len(sent) < 1000
