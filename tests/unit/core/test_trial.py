"""The plan that is shown is the plan that is made, and showing it changes nothing."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from coordinator.core import trial
from coordinator.core.invariants import check_invariants
from coordinator.core.model import Allocation, HostFacts
from coordinator.core.spares import is_spare
from coordinator.core.spec import GpuRequest, JobSpec, Optimize, Placement, Range, Resources
from tests.fakes.world import World, hardware


def as_held(allocations: tuple[Allocation, ...]) -> list[tuple[int, str, int, tuple[str, ...], float]]:
    return sorted((a.rank, a.host_id, a.cpus, a.gpus, a.price) for a in allocations)


_SPECS = st.builds(
    JobSpec,
    argv=st.just(("x",)),
    nodes=st.integers(1, 6),
    placement=st.sampled_from(Placement),
    priority=st.sampled_from([0, 0, 9]),
    optimize=st.sampled_from(Optimize),
    resources=st.builds(
        Resources,
        cpus=st.integers(1, 3).map(Range),
        gpu=st.none() | st.integers(1, 2).map(lambda count: GpuRequest(count=Range(count, count))),
    ),
)


@settings(max_examples=60, deadline=None)
@given(
    hosts=st.lists(st.tuples(st.integers(1, 4), st.integers(0, 3), st.sampled_from([None, 1.0, 3.0])), max_size=5),
    before=st.lists(st.tuples(_SPECS, st.sampled_from(["ann", "bob"])), max_size=5),
    spec=_SPECS,
    extra=st.integers(1, 2),
)
def test_what_is_tried_is_what_then_happens(
    hosts: list[tuple[int, int, float | None]], before: list[tuple[JobSpec, str]], spec: JobSpec, extra: int
) -> None:
    world = World()
    for number, (cpus, gpus, price) in enumerate(hosts):
        facts = HostFacts(backend=f"b{number % 2}", price_per_hour=price)
        world.add_host(f"host{number}", hardware(cpus, gpus, prefix=f"host{number}"), facts)
    for other, user in before:
        world.submit(other, user=user)
    cluster = spec.placement is Placement.CLUSTER
    spec = replace(spec, spares=extra - 1) if cluster else replace(spec, redundancy=extra)
    version, jobs = world.state.version, dict(world.state.jobs)
    tried = trial.plan(world.state, spec, "ann")
    assert (world.state.version, world.state.jobs) == (version, jobs)
    check_invariants(world.state)
    job = world.submit(spec)
    held = tuple(world.held(job.id))
    assert tried.job.id == job.id
    assert as_held(tried.nodes) == as_held(tuple(a for a in held if not is_spare(spec, a)))
    assert as_held(tried.spares) == as_held(tuple(a for a in held if is_spare(spec, a)))
    assert tried.price == sum(a.price for a in held)


def test_promises_to_jobs_that_hold_nothing_bind_a_trial_among_more_than_are_taken_along() -> None:
    world = World()
    world.add_host("a", hardware(4))
    need = Resources(cpus=Range(4))
    whole = JobSpec(argv=("x",), placement=Placement.ANY, resources=need, max_duration=60.0)
    world.submit(whole)
    for number in range(trial.MAX_WAITING + 1):
        world.submit(replace(whole, resources=Resources(cpus=Range(number % 3 + 2))), user=f"u{number % 5}")
    assert any(not world.state.job_allocations[job] for job in world.state.book.reservations)
    assert trial.plan(world.state, whole, "zed").placed == 0


def test_nodes_with_copies_are_counted_once() -> None:
    world = World()
    for name, price in (("a", 1.0), ("b", 2.0)):
        world.add_host(name, hardware(4, prefix=name), HostFacts(backend=name, price_per_hour=price))
    tried = trial.plan(world.state, JobSpec(argv=("x",), placement=Placement.ANY, nodes=2, redundancy=2), "ann")
    assert (tried.placed, len(tried.nodes), tried.price) == (2, 4, 1.5)
