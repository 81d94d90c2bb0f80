"""Short nodes in hand: what is put behind what, when not, and what becomes of it."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from coordinator.core.desired import desired_of
from coordinator.core.events import AllocationStatus, CordonRequested, HostReported, StopRequested
from coordinator.core.model import Allocation, EndCause, Job, JobState, NodeState, Phase
from coordinator.core.spec import GpuRequest, JobSpec, Placement, Range, Resources
from tests.fakes.world import World, hardware

GPU = Resources(gpu=GpuRequest(count=Range(1, 1)))


ANYTHING = Resources()


def crowd(nodes: int = 40, resources: Resources = ANYTHING) -> JobSpec:
    return JobSpec(argv=("x",), placement=Placement.ANY, nodes=nodes, resources=resources)


def queued(world: World, job: Job) -> list[Allocation]:
    return [a for a in world.held(job.id) if a.behind is not None]


def head(world: World, job: Job) -> Allocation:
    (found,) = [a for a in world.held(job.id) if a.behind is None]
    return found


def one_slot(spec: JobSpec, gpus: int = 0) -> tuple[World, Job]:
    """A host for one node at a time, and a job of which a first node has ended at once."""
    world = World(queues=True)
    world.add_host("one", hardware(cpus=1, gpus=gpus))
    job = world.submit(spec)
    world.end(head(world, job).id)
    return world, job


def test_nothing_is_in_hand_before_a_node_was_seen_to_be_short() -> None:
    world = World(queues=True)
    world.add_host("one", hardware(cpus=1))
    job = world.submit(crowd())
    assert not queued(world, job)
    world.end(head(world, job).id)
    assert queued(world, job)


def test_what_is_in_hand_waits_one_behind_the_other_and_holds_nothing() -> None:
    world, job = one_slot(crowd(resources=GPU), gpus=1)
    first = head(world, job)
    chain = queued(world, job)
    assert [a.behind for a in chain] == [first.id, *(a.id for a in chain[:-1])]
    assert {a.gpus for a in chain} == {first.gpus}
    usage = world.state.usage[first.host_id]
    assert (usage.cpus, usage.gpus) == (1, {first.gpus[0]: first.id})
    order = desired_of(world.state, chain[0].id)
    assert order is not None
    assert order.allocation.behind == first.id


def test_what_is_behind_takes_over_when_that_ends() -> None:
    world, job = one_slot(crowd(resources=GPU), gpus=1)
    following = queued(world, job)[0]
    world.now += 1.0
    world.end(head(world, job).id)
    now = head(world, job)
    assert (now.id, now.held_since) == (following.id, world.now + world.served_from)
    assert world.state.usage[now.host_id].gpus == {now.gpus[0]: now.id}


def test_a_whole_chain_may_end_in_one_report() -> None:
    world, job = one_slot(crowd())
    held = [head(world, job), *queued(world, job)]
    ended = [AllocationStatus(a.id, Phase.ENDED, 0, EndCause.EXIT, started_at=1.0, ended_at=1.0) for a in held]
    host = world.state.hosts[held[0].host_id]
    world.post(HostReported(host.id, host.epoch, tuple(ended)))
    assert all(world.node(job.id, a.rank).state is NodeState.DONE for a in held)
    assert head(world, job).id not in {a.id for a in held}


def test_nothing_is_put_before_another_job_that_waits() -> None:
    world, job = one_slot(crowd())
    world.submit(crowd(1))
    while queued(world, job):
        world.end(head(world, job).id)
    assert len(world.held()) == 1


def test_two_jobs_of_short_nodes_take_turns() -> None:
    world, one = one_slot(crowd(400))
    other = world.submit(crowd(400), user="bob")
    turns: list[str] = []
    for _ in range(200):
        (first,) = [a for a in world.held() if a.behind is None]
        if not turns or turns[-1] != first.job_id:
            turns.append(first.job_id)
        world.now += 0.005
        world.end(first.id)
    done = [world.state.counts[job.id][NodeState.DONE] for job in (one, other)]
    assert min(done) > 60
    assert 4 < len(turns) < 100
    assert world.state.chains.queued


def test_a_job_that_this_host_can_never_hold_waits_for_other_reasons() -> None:
    world = World(queues=True)
    world.add_host("one", hardware(cpus=1))
    world.submit(crowd(1, GPU))
    job = world.submit(crowd())
    world.end(head(world, job).id)
    assert queued(world, job)


def test_what_is_given_back_is_placed_anew_and_is_no_failure() -> None:
    world, job = one_slot(crowd())
    back = queued(world, job)[0]
    world.end(back.id, None, EndCause.RETURNED)
    node = world.node(job.id, back.rank)
    assert (node.state, node.host_failures, node.errors) == (NodeState.PENDING, 0, 0)
    assert queued(world, job)[0].behind == head(world, job).id
    for _ in range(3):
        world.end(head(world, job).id)
    assert world.state.chains.pace[job.id] > 0.3
    assert back.rank in {node.rank for node in world.state.nodes[job.id].values()}


def test_long_nodes_are_not_in_hand() -> None:
    world = World(queues=True)
    world.add_host("one", hardware(cpus=1))
    job = world.submit(crowd())
    first = head(world, job)
    status = AllocationStatus(first.id, Phase.ENDED, 0, EndCause.EXIT, started_at=world.now - 2, ended_at=world.now)
    world.report(first.host_id, status)
    assert not queued(world, job)


def test_an_agent_that_can_not_do_it_gets_nothing_in_hand() -> None:
    world = World()
    world.add_host("one", hardware(cpus=1))
    job = world.submit(crowd())
    world.end(head(world, job).id)
    assert not queued(world, job)


STEPS = st.lists(
    st.sampled_from(["end", "end", "end", "fail", "return", "run", "restart", "other", "cordon", "resume", "lose"]),
    max_size=40,
)


@settings(max_examples=30, deadline=None)
@given(steps=STEPS, gpus=st.integers(0, 2), stop=st.booleans())
def test_whatever_happens_all_nodes_end_and_nothing_is_held_twice(steps: list[str], gpus: int, stop: bool) -> None:
    """The world checks the invariants after each step."""
    world = World(queues=True)
    host = world.add_host("one", hardware(cpus=2, gpus=gpus))
    job = world.submit(crowd(30, GPU if gpus else Resources()))
    for step in steps:
        play(world, job, step)
    if world.state.hosts[host.id].cordoned:
        world.post(CordonRequested("one", False))
    world.open(host.id)
    if stop:
        world.post(StopRequested(job.id, "ann"))
    for _ in range(200):
        for allocation in [a for a in world.held() if a.behind is None]:
            stopping = allocation.wanted is Phase.STOPPING
            world.end(allocation.id, None if stopping else 0, EndCause.STOPPED if stopping else EndCause.EXIT)
    assert not world.held()
    assert all(job.state.ended for job in world.state.jobs.values())
    # A node that was lost with its host three times has failed.
    may_fail = "fail" in steps or steps.count("lose") > 2
    assert may_fail or world.job(job.id).state is (JobState.STOPPED if stop else JobState.DONE)


def play(world: World, job: Job, step: str) -> None:
    """One step of a history."""
    heads = [a for a in world.held(job.id) if a.behind is None]
    waiting = queued(world, job)
    match step:
        case "end" if heads:
            world.end(heads[0].id)
        case "fail" if heads:
            world.end(heads[-1].id, 3)
        case "return" if waiting:
            world.end(waiting[len(waiting) // 2].id, None, EndCause.RETURNED)
        case "run" if waiting:
            world.report(waiting[0].host_id, AllocationStatus(waiting[0].id, Phase.RUNNING, started_at=world.now))
        case "restart":
            world.restart()
        case "other":
            world.submit(crowd(1))
        case "cordon" | "resume":
            world.post(CordonRequested("one", step == "cordon"))
        case "lose":
            for host in world.state.hosts:
                world.asleep.add(host)
            world.advance(40.0)
            world.asleep.clear()
            for host in tuple(world.state.hosts):
                world.open(host)
