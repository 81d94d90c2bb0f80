"""Nodes in containers, or with a Python of their own: where they may run, and what is said meanwhile."""

from __future__ import annotations

from dataclasses import replace

import pytest

from coordinator.core import explain, remedies
from coordinator.core.events import AllocationStatus
from coordinator.core.hardware import Containers
from coordinator.core.model import EndCause, HostState, NodeState, Phase
from coordinator.core.runtimes import Runs
from coordinator.core.runtimes import undecided as undecided_by
from coordinator.core.spec import GpuRequest, JobSpec, Placement, Resources
from coordinator.snapshots import job_view
from tests.fakes.world import World, hardware

IMAGE = JobSpec(argv=("x",), placement=Placement.ANY, image="alpine")
PYTHON = JobSpec(argv=("x",), placement=Placement.ANY, python="3.12")
GPU = replace(IMAGE, resources=Resources(gpu=GpuRequest()))
PODMAN = Containers("podman", "4.3.1")


@pytest.mark.parametrize(
    ("spec", "containers", "refusal", "remedy"),
    [
        (IMAGE, Containers(), "needs podman or docker for its image: its agent reports none", "with pod"),
        (
            IMAGE,
            Containers(problem="podman: broken"),
            "needs podman or docker for its image: podman: broken",
            "with po",
        ),
        (IMAGE, PODMAN, "", ""),
        (replace(IMAGE, privileged=True), PODMAN, "needs a privileged container, which its owner does not", "if its o"),
        (replace(IMAGE, privileged=True), replace(PODMAN, privileged=True), "", ""),
        (
            GPU,
            replace(PODMAN, gpu_problem="no CDI"),
            "needs GPUs in a container, its podman gives none (no CDI)",
            "if i",
        ),
        (GPU, replace(PODMAN, gpus="cdi"), "", ""),
        (replace(IMAGE, user="app:app"), PODMAN, "", ""),
        (
            replace(IMAGE, user="app:app"),
            replace(PODMAN, only_user="990"),
            "needs user 'app:app' in its container, its podman runs all as user 990",
            "with podman, which",
        ),
        (replace(IMAGE, user="990"), replace(PODMAN, only_user="990"), "", ""),
        (replace(IMAGE, user="app", privileged=True), replace(PODMAN, only_user="990", privileged=True), "", ""),
        (PYTHON, PODMAN, "needs uv for its Python environment, has none", "with uv installed for its agent"),
    ],
)
def test_a_host_that_cannot_is_not_chosen(spec: JobSpec, containers: Containers, refusal: str, remedy: str) -> None:
    world = World()
    host = world.add_host("one", replace(hardware(gpus=1), containers=containers))
    job = world.submit(spec)
    assert len(world.held(job.id)) == (not refusal)
    if refusal:
        (offer,) = explain.offers(world.state, spec)
        assert offer.rejection.startswith(refusal)
        found = remedies.of_host(world.state, world.state.hosts[host.id], spec)
        assert found is not None
        assert found.words.startswith(remedy)
        # As soon as the host can, it is taken.
        able = Containers("docker", gpus="nvidia", privileged=True)
        world.open(host.id, replace(hardware(gpus=1), containers=able, uv="0.9"))
        assert len(world.held(job.id)) == 1


@pytest.mark.parametrize(
    ("spec", "what"), [(IMAGE, "podman or docker for its image"), (PYTHON, "uv for its Python environment")]
)
def test_what_an_agent_still_looks_for_may_be_there_in_a_moment(spec: JobSpec, what: str) -> None:
    world = World()
    host = world.add_host("one", replace(hardware(), looking=True))
    world.add_host("two")
    job = world.submit(spec)

    def undecided(spec: JobSpec) -> bool:
        return undecided_by(world.state.hosts.values(), Runs.of(spec))

    assert undecided(spec)
    assert explain.impossible(world.state, spec)
    reasons = {offer.host.name: offer.rejection for offer in explain.offers(world.state, spec)}
    assert reasons["one"] == f"needs {what}, for which its agent, which has just started, still looks"
    found = remedies.of_host(world.state, world.state.hosts[host.id], spec)
    assert found is not None
    assert found.words == f"as soon as its agent has found {what}"
    assert not undecided(replace(IMAGE, image=None))
    away = replace(world.state.hosts[host.id], state=HostState.LOST)
    assert not undecided_by([away], Runs.of(spec))
    # It has looked, and there is nothing: that is final. Then there is.
    world.open(host.id, hardware())
    assert not undecided(spec)
    world.open(host.id, replace(hardware(), containers=PODMAN, uv="0.9"))
    assert len(world.held(job.id)) == 1


def test_a_group_is_waited_for_while_an_image_is_fetched() -> None:
    world = World()
    hosts = [world.add_host(name, replace(hardware(), containers=PODMAN)) for name in ("one", "two")]
    job = world.submit(replace(IMAGE, placement=Placement.CLUSTER, nodes=2))
    slow, fast = world.held(job.id)
    prepare = world.state.timing.prepare
    for number in range(3):
        world.advance(prepare * 0.9)
        what = f"pulling alpine: {number}"
        world.report(hosts[0].id, AllocationStatus(slow.id, Phase.PREPARING, reason=what))
        assert world.node(job.id, 0).reason == f"preparing: {what}"
    assert {held.attempt for held in world.held(job.id)} == {slow.attempt}
    world.report(fast.host_id, AllocationStatus(fast.id, Phase.PREPARED, master_port=1))
    world.report(slow.host_id, AllocationStatus(slow.id, Phase.PREPARED, master_port=1))
    assert world.node(job.id, 0).reason == ""
    world.start(job.id)
    assert world.node(job.id, 0).state is NodeState.RUNNING


@pytest.mark.parametrize("spec", [IMAGE, PYTHON, replace(IMAGE, placement=Placement.CLUSTER)])
def test_lists_say_what_is_done_and_why_it_is_done_again(spec: JobSpec) -> None:
    world = World()
    one = world.add_host("one", replace(hardware(), containers=PODMAN, uv="0.9"))
    job = world.submit(spec)

    def told() -> tuple[str, str]:
        now = world.job(job.id)
        return job_view(world.state, now).reason, explain.summary(world.state, now)

    (held,) = world.held(job.id)
    assert told() == ("", "starting on one")
    world.report(one.id, AllocationStatus(held.id, Phase.PREPARING, reason="pulling alpine (1 s)"))
    assert told() == ("preparing: pulling alpine (1 s)", "starting on one; preparing: pulling alpine (1 s)")
    failed = "could not be pulled: no such host"
    status = AllocationStatus(held.id, Phase.ENDED, cause=EndCause.HOST, reason=failed)
    world.report(one.id, status)
    world.advance(60)
    (again,) = world.held(job.id)
    before = world.node(job.id, 0).reason
    assert before.endswith(failed)
    assert all(words.count(failed) == 1 for words in told()), told()
    for seconds in (1, 6):
        what = f"pulling alpine ({seconds} s)"
        world.report(one.id, AllocationStatus(again.id, Phase.PREPARING, reason=what))
        assert all(f"preparing: {what}" in words and words.count(failed) == 1 for words in told()), told()
    # It is kept while the node runs.
    world.report(one.id, AllocationStatus(again.id, Phase.PREPARED, master_port=1))
    assert world.node(job.id, 0).reason == before


def test_of_several_nodes_it_is_said_which_one() -> None:
    world = World()
    host = world.add_host("one", replace(hardware(), containers=PODMAN))
    job = world.submit(replace(IMAGE, nodes=2))
    world.report(host.id, AllocationStatus(world.held(job.id)[1].id, Phase.PREPARING, reason="pulling alpine"))
    assert job_view(world.state, world.job(job.id)).reason == "node 1 preparing: pulling alpine"


def test_a_group_is_not_waited_for_without_a_sign() -> None:
    world = World()
    for name in ("one", "two"):
        world.add_host(name, replace(hardware(), containers=PODMAN))
    job = world.submit(replace(IMAGE, placement=Placement.CLUSTER, nodes=2))
    (held, _) = world.held(job.id)
    world.report(held.host_id, AllocationStatus(held.id, Phase.PREPARING, reason="pulling alpine"))
    world.advance(world.state.timing.prepare * 1.1)
    assert world.state.gangs[job.id].reason == "rendezvous failed: one, two not prepared within 120 s"
