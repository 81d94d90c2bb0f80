"""What nodes cost."""

from __future__ import annotations

from dataclasses import replace

import pytest

from coordinator.core import ledger
from coordinator.core.costs import rate
from coordinator.core.model import Host, HostFacts, JobState
from coordinator.core.spec import GpuRequest, JobSpec, Placement, Range, Resources
from tests.fakes.world import World, hardware

GB = 1 << 30


def priced(price: float | None = 8.0, cpus: int = 16, gpus: int = 8) -> Host:
    """A host with 16 GB of memory."""
    return World().add_host("one", hardware(cpus, gpus), HostFacts(price_per_hour=price))


@pytest.mark.parametrize(
    ("cpus", "memory", "gpus", "share", "usd"),
    [
        (4, 1 * GB, 0, 1.0, 2.0),  # a quarter of the CPUs
        (1, 12 * GB, 0, 1.0, 6.0),  # three quarters of the memory
        (4, 1 * GB, 4, 1.0, 4.0),  # half of the GPUs
        (1, 0, 1, 0.5, 0.5),  # half of one GPU
        (2, 0, 1, 0.5, 1.0),  # the CPUs are more than that
        (16, 17 * GB, 8, 1.0, 8.0),  # all, and never more
    ],
)
def test_a_node_costs_the_largest_part_that_it_holds_of_its_host(
    cpus: int, memory: int, gpus: int, share: float, usd: float
) -> None:
    assert rate(priced(), cpus, memory, gpus, share) == pytest.approx(usd)


@pytest.mark.parametrize("price", [None, 0.0])
def test_a_host_without_a_price_costs_nothing(price: float | None) -> None:
    assert rate(priced(price), 16, 0, 8) == 0.0


def test_what_no_node_could_pay_for_alone_is_paid_by_who_holds_it() -> None:
    host = priced(8.0, cpus=4, gpus=0)
    assert sum(rate(host, 1, 0, 0) for _ in range(4)) == pytest.approx(8.0)


def test_an_allocation_keeps_the_price_and_the_moment_of_its_reservation() -> None:
    world = World()
    host = world.add_host("one", hardware(16, gpus=8), HostFacts(price_per_hour=8.0))
    gpu = GpuRequest(count=Range(2, 2))
    job = world.submit(JobSpec(argv=("x",), placement=Placement.ANY, resources=Resources(gpu=gpu)))
    at = world.now
    world.advance(30)
    world.state.hosts[host.id] = replace(host, facts=HostFacts(price_per_hour=99.0))
    world.open(host.id)
    (held,) = world.held(job.id)
    assert (held.price, held.share, held.held_since) == (pytest.approx(2.0), 1.0, at)


def test_members_and_spares_of_a_gang_have_their_prices() -> None:
    world = World()
    for name in ("one", "two", "three"):
        world.add_host(name, hardware(4), HostFacts(price_per_hour=4.0))
    job = world.submit(JobSpec(argv=("x",), nodes=2, spares=1))
    assert [(held.price, held.held_since) for held in world.held(job.id)] == [(1.0, world.now)] * 3


# ---------------------------------------------------------------- what was spent


def priced_world(*prices: float, cpus: int = 4) -> World:
    """Hosts in a backend each, with these prices."""
    world = World()
    for number, price in enumerate(prices):
        facts = HostFacts(price_per_hour=price, backend=f"cloud{number}")
        world.add_host(f"host{number}", hardware(cpus, prefix=f"host{number}"), facts)
    return world


ANY = JobSpec(argv=("x",), placement=Placement.ANY)


def test_what_a_node_cost_is_on_its_job_and_in_the_ledger_in_the_turn_that_frees_it() -> None:
    world = priced_world(4.0)
    job = world.submit(ANY)
    (held,) = world.held(job.id)
    world.advance(1800)
    assert world.job(job.id).spent == 0.0
    assert ledger.job_cost(world.state, job) == pytest.approx(0.5)
    world.end(held.id)
    ended = world.job(job.id)
    assert ended.state is JobState.DONE
    assert ended.spent == pytest.approx(0.5) == pytest.approx(ledger.job_cost(world.state, ended))
    (entry,) = world.state.ledger.values()
    assert (entry.user, entry.backend, entry.attempts) == ("ann", "cloud0", 1)
    assert (entry.usd, entry.cpu_seconds, entry.gpu_seconds) == (pytest.approx(0.5), pytest.approx(1800), 0.0)


def test_the_ledger_outlives_the_coordinator_and_counts_nothing_twice() -> None:
    world = priced_world(4.0)
    first = world.submit(ANY)
    world.submit(ANY)
    world.advance(3600)
    world.end(world.held(first.id)[0].id)
    before = ledger.spending(world.state, ledger.By.USER)
    world.state.served = world.now
    world.restart()
    assert ledger.spending(world.state, ledger.By.USER) == before
    assert before[0].usd == pytest.approx(2.0)


def test_the_time_that_the_coordinator_was_down_is_not_charged() -> None:
    world = priced_world(4.0)
    job = world.submit(ANY)
    world.advance(3600)
    world.state.served = world.now
    world.now += 7200
    world.restart()
    assert ledger.job_cost(world.state, world.job(job.id)) == pytest.approx(1.0)


def test_no_more_than_a_minute_of_a_quiet_hour_is_forgotten_in_a_crash() -> None:
    world = priced_world(60.0)
    job = world.submit(replace(ANY, resources=Resources(cpus=Range(4))))
    world.advance(3600)
    world.restart()
    assert 59.0 <= ledger.job_cost(world.state, world.job(job.id)) <= 60.0


def test_what_was_held_over_midnight_counts_for_both_days() -> None:
    world = priced_world(4.0)
    world.wall_offset = 20000 * ledger.DAY - world.now - 3600  # an hour before a midnight
    job = world.submit(ANY)
    world.now += 3 * 3600 + ledger.DAY
    world.end(world.held(job.id)[0].id)
    by_day = ledger.spending(world.state, ledger.By.DAY)
    assert [(each.name, round(each.usd, 6), each.attempts) for each in by_day] == [
        ("2024-10-03", 1.0, 0),
        ("2024-10-04", 24.0, 0),
        ("2024-10-05", 2.0, 1),
    ]
    later = ledger.spending(world.state, ledger.By.BACKEND, since=20000 * ledger.DAY + 5)
    assert [(each.name, round(each.usd, 6)) for each in later] == [("cloud0", 26.0)]


def test_spending_by_user_backend_and_job_agrees_with_what_the_jobs_say() -> None:
    world = priced_world(4.0, 8.0, cpus=1)
    one, two = world.submit(ANY, user="ann"), world.submit(replace(ANY, name="b"), user="bob")
    world.advance(900)
    world.end(world.held(one.id)[0].id)
    world.advance(900)
    assert [(s.name, s.usd) for s in ledger.spending(world.state, ledger.By.USER)] == [
        ("bob", pytest.approx(4.0)),
        ("ann", pytest.approx(1.0)),
    ]
    assert [s.name for s in ledger.spending(world.state, ledger.By.BACKEND)] == ["cloud1", "cloud0"]
    assert [(s.name, s.usd) for s in ledger.spending(world.state, ledger.By.JOB)] == [
        (two.id, pytest.approx(4.0)),
        (one.id, pytest.approx(1.0)),
    ]
    assert ledger.spending(world.state, ledger.By.DAY, user="cy") == ()
