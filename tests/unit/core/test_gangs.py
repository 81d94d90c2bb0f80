"""A gang that lost a member: who stays, who comes, and what spares are for."""

from __future__ import annotations

from dataclasses import replace

import pytest

from coordinator.core import explain, trial
from coordinator.core.events import AllocationStatus, BackupRestored, CordonRequested, StopRequested
from coordinator.core.ids import HostId, JobId
from coordinator.core.model import EndCause, GangPhase, HostFacts, JobState, NodeState, Phase
from coordinator.core.spares import spares_of
from coordinator.core.spec import GpuRequest, JobSpec, Placement, Resources, RetryPolicy, Spread, StopCriteria
from tests.fakes.world import World, hardware

LOST_SECONDS = 37.0


def a_world(*names: str, cpus: int = 1) -> World:
    world = World()
    for name in names:
        world.add_host(name, hardware(cpus, prefix=name))
    return world


def host(world: World, name: str) -> HostId:
    return next(h.id for h in world.state.hosts.values() if h.name == name)


def spec(nodes: int = 3, spares: int = 0, **more: object) -> JobSpec:
    return replace(JobSpec(argv=("x",), nodes=nodes, spares=spares), **more)  # type: ignore[arg-type]


def places(world: World, job: JobId) -> str:
    """The names of the hosts by rank, the spares in brackets: ``a b c (d)``."""
    spares = {a.id for a in spares_of(world.state, world.job(job))}
    names = [(world.state.hosts[a.host_id].name, a.id in spares) for a in world.held(job)]
    return " ".join(f"({name})" if spare else name for name, spare in names)


def lose(world: World, *names: str) -> None:
    """These hosts fall silent, and are lost."""
    world.asleep.update(host(world, name) for name in names)
    world.advance(LOST_SECONDS)


def run(world: World, job: JobId) -> None:
    """Whatever the job's hosts are told is done: at the end all nodes of the newest generation run."""
    for _ in range(3):
        world.start(job)
        world.probe_all()
    assert world.state.gangs[job].phase is GangPhase.RUNNING
    assert all(node.state is NodeState.RUNNING for node in world.state.nodes[job].values())


def running(world: World, wanted: JobSpec) -> JobId:
    job = world.submit(wanted).id
    run(world, job)
    return job


# ---------------------------------------------------------------- survivors


@pytest.mark.parametrize(("lost", "then"), [("a", "d b c"), ("b", "a d c"), ("c", "a b d")])
def test_only_the_lost_host_is_replaced_and_the_survivors_keep_their_ranks(lost: str, then: str) -> None:
    world = a_world("a", "b", "c", "d", "e")
    job = running(world, spec())
    lose(world, lost)
    run(world, job)
    assert (places(world, job), world.job(job).generation) == (then, 2)
    group = world.state.gangs[job].group
    assert group is not None
    assert (group.generation, [m.rank for m in group.members]) == (2, [0, 1, 2])
    rank = "abc".index(lost)
    assert world.job(job).reason == (
        f"formed again after: node {rank} on {lost}: host {lost} lost: not heard of for 36 s; "
        f"rank {rank} moved from {lost} to d: that host failed"
    )


def test_after_the_programs_own_failure_everyone_stays() -> None:
    world = a_world("a", "b", "c", "d")
    job = running(world, spec(retry=RetryPolicy()))
    world.end(world.held(job)[1].id, 137)
    world.start(job)
    world.advance(5.0)
    run(world, job)
    assert (places(world, job), world.job(job).generation) == ("a b c", 2)
    assert world.job(job).reason == "formed again after: node 1 on b: exit code 137"


def test_peers_are_told_to_stop_in_the_turn_in_which_the_loss_is_noticed() -> None:
    world = a_world("a", "b", "c")
    job = running(world, spec())
    world.asleep.add(host(world, "b"))
    world.advance(35.0)
    assert {a.wanted for a in world.held(job)} == {Phase.RUNNING}
    world.advance(2.0)
    assert [(a.rank, a.wanted, a.stop_grace) for a in world.held(job)] == [
        (0, Phase.STOPPING, 3.0),
        (2, Phase.STOPPING, 3.0),
    ]


@pytest.mark.parametrize("priority", [0, 5])
def test_survivors_places_go_to_nobody_else_while_their_peers_still_stop(priority: int) -> None:
    world = a_world("a", "b", "c", "d")
    job = running(world, spec())
    waiting = world.submit(spec(nodes=2, priority=priority)).id
    lose(world, "c")
    zero, one = world.held(job)
    world.obey(zero)
    world.obey(one)
    run(world, job)
    assert (places(world, job), places(world, waiting)) == ("a b d", "")


def test_a_gang_to_be_formed_again_goes_before_others_of_its_priority() -> None:
    world = a_world("a", "b", "c", cpus=1)
    job = running(world, spec(nodes=2))
    older = world.submit(spec(nodes=1, name="older")).id
    assert places(world, older) == "c"
    lose(world, "b")
    world.obey(world.held(job)[0])
    assert world.job(job).state is JobState.QUEUED
    waiting = world.submit(spec(nodes=2, name="waiting")).id
    world.start(older)
    world.start(older)
    world.end(world.held(older)[0].id)
    assert (places(world, job), places(world, waiting)) == ("a c", "")


def test_what_a_gang_gives_up_that_can_not_be_formed_goes_to_who_waits() -> None:
    world = a_world("a", "b", "c")
    job = running(world, spec())
    waiting = world.submit(spec(nodes=2)).id
    lose(world, "c")
    for allocation in world.held(job):
        world.obey(allocation)
    assert (places(world, job), places(world, waiting)) == ("", "a b")
    assert "host c lost" in explain.summary(world.state, world.job(job))


def test_a_failed_host_is_used_again_when_no_other_fits() -> None:
    world = a_world("a", "b", "c")
    job = running(world, spec())
    lose(world, "b")
    for allocation in world.held(job):
        world.obey(allocation)
    world.asleep.clear()
    world.open(host(world, "b"))
    world.probe_all()
    run(world, job)
    assert places(world, job) == "a b c"


def test_when_all_failed_and_are_back_everyone_has_its_rank_again() -> None:
    world = a_world("a", "b", "c")
    job = running(world, spec())
    lose(world, "c", "a", "b")
    world.asleep.clear()
    for name in "cab":
        world.open(host(world, name))
    world.probe_all()
    run(world, job)
    assert (places(world, job), world.job(job).generation) == ("a b c", 2)


def test_a_failed_host_that_is_back_is_avoided_while_another_fits() -> None:
    world = a_world("a", "b", "c", "d")
    job = running(world, spec(retry=RetryPolicy()))
    world.end(world.held(job)[0].id, None, EndCause.HOST)
    run(world, job)
    assert places(world, job) == "d b c"


@pytest.mark.parametrize(("spread", "then"), [(Spread.HOST, "a c"), (Spread.REGION, "a d")])
def test_the_replacement_keeps_away_from_where_the_member_failed(spread: Spread, then: str) -> None:
    world = World()
    for name, region in (("a", "x"), ("b", "y"), ("c", "y"), ("d", "z")):
        world.add_host(name, hardware(1, prefix=name), HostFacts(region=region))
    job = running(world, spec(nodes=2, spread=spread))
    lose(world, "b")
    run(world, job)
    assert places(world, job) == then


def test_a_survivor_that_may_not_stay_is_moved_and_the_job_says_why() -> None:
    world = a_world("a", "b", "c", "d", "e")
    job = running(world, spec())
    world.post(CordonRequested("a", cordoned=True))
    lose(world, "b")
    run(world, job)
    assert places(world, job) == "d e c"
    assert "rank 0 moved from a to d: it is cordoned" in world.job(job).reason


def test_a_survivor_whose_gpu_broke_is_moved() -> None:
    world = World()
    cards = {name: hardware(2, 1, prefix=name) for name in "abcd"}
    for name, hw in cards.items():
        world.add_host(name, hw)
    job = running(world, spec(nodes=2, retry=RetryPolicy(), resources=Resources(gpu=GpuRequest())))
    broken = replace(cards["a"], gpus=(replace(cards["a"].gpus[0], problem="fell off the bus"),))
    world.open(host(world, "a"), broken)
    world.end(world.held(job)[1].id, 1)
    world.start(job)
    world.advance(5.0)
    run(world, job)
    assert places(world, job) == "c b"


def test_of_survivors_that_lost_each_other_as_many_as_possible_stay() -> None:
    world = a_world("a", "b", "c", "d", "e")
    job = running(world, spec(nodes=4, retry=RetryPolicy()))
    # Rank 0 reaches nobody any more; the others reach each other.
    world.cut = {("a", name) for name in "bcde"}
    for name in "bcde":
        world.report(host(world, "a"), probes=(world.reach(host(world, "a"), host(world, name)),))
    world.end(world.held(job)[2].id, 1)
    world.start(job)
    world.advance(5.0)
    run(world, job)
    assert places(world, job) == "e b c d"


def test_a_host_that_was_not_prepared_in_time_is_replaced() -> None:
    world = a_world("a", "b", "c", "d")
    job = world.submit(spec()).id
    for allocation in world.held(job):
        if allocation.rank != 1:
            world.obey(allocation)
    world.advance(130.0)
    for allocation in world.held(job):
        world.obey(allocation)
    run(world, job)
    assert places(world, job) == "a d c"


def test_survivors_are_waited_for_when_the_coordinator_restarts_in_between() -> None:
    world = a_world("a", "b", "c", "d", "e")
    job = running(world, spec(retry=RetryPolicy()))
    world.end(world.held(job)[1].id, 1)
    world.start(job)
    assert world.state.gangs[job].phase is GangPhase.REFORMING
    world.restart()
    for name in "edcba":
        world.open(host(world, name))
    world.probe_all()
    run(world, job)
    assert places(world, job) == "a b c"


def test_survivors_that_do_not_come_back_are_waited_for_no_longer_than_a_lease() -> None:
    world = a_world("a", "b", "c", "d", "e")
    job = running(world, spec(retry=RetryPolicy()))
    world.end(world.held(job)[1].id, 1)
    world.start(job)
    world.restart()
    world.asleep.update(host(world, name) for name in "ab")
    for name in "cde":
        world.open(host(world, name))
    world.probe_all()
    assert places(world, job) == "a b c", "kept until they are lost"
    world.advance(LOST_SECONDS)
    run(world, job)
    assert places(world, job) == "d e c"


def test_a_master_that_is_done_ends_the_job_though_a_member_failed_before() -> None:
    """While the others stop for the next generation, the master ends well: there is nothing left to form one for."""
    world = a_world("a", "b", "c")
    job = running(world, spec(retry=RetryPolicy(), stop_criteria=StopCriteria.MASTER_DONE))
    master, failed, other = world.held(job)
    world.end(failed.id, 3)
    world.end(other.id, None, EndCause.STOPPED)
    world.end(master.id, 0)
    assert (world.job(job).state, world.job(job).exit_code) == (JobState.DONE, 0)
    assert world.held(job) == []


def test_a_stop_wins_while_a_gang_rests() -> None:
    world = a_world("a", "b", "c", "d")
    job = running(world, spec(spares=1, retry=RetryPolicy()))
    world.end(world.held(job)[1].id, 1)
    world.start(job)
    assert world.state.gangs[job].phase is GangPhase.REFORMING
    world.post(StopRequested(job, "ann"))
    assert (world.job(job).state, world.held()) == (JobState.STOPPED, [])
    world.advance(100.0)
    assert world.job(job).state is JobState.STOPPED


# ---------------------------------------------------------------- spares


def test_a_spare_is_prepared_but_never_started_and_nobody_is_told_of_it() -> None:
    world = a_world("a", "b", "c", "d")
    job = running(world, spec(spares=1))
    assert places(world, job) == "a b c (d)"
    spare = world.held(job)[-1]
    assert (spare.wanted, spare.observed) == (Phase.PREPARED, Phase.PREPARED)
    group = world.state.gangs[job].group
    assert group is not None
    assert len(group.members) == 3
    assert sorted(world.state.nodes[job]) == [0, 1, 2]
    assert world.state.usage[spare.host_id].cpus == 1
    assert explain.summary(world.state, world.job(job)) == "running on a, b, c; 1 of 1 spare: d"


def test_what_a_host_says_of_a_running_spare_is_ignored() -> None:
    world = a_world("a", "b")
    job = running(world, spec(nodes=1, spares=1))
    spare = world.held(job)[-1]
    world.report(spare.host_id, AllocationStatus(spare.id, Phase.RUNNING, started_at=1.0))
    assert world.held(job)[-1].observed is Phase.PREPARED


def test_a_spare_takes_the_lost_members_rank_and_stays_held_until_then() -> None:
    world = a_world("a", "b", "c", "d")
    job = running(world, spec(spares=1))
    urgent = world.submit(spec(nodes=1, priority=100)).id
    lose(world, "b")
    assert places(world, job) == "a c (d)", "let go while the peers stop"
    run(world, job)
    assert (places(world, job), places(world, urgent)) == ("a d c", "")


def test_used_and_lost_spares_are_replaced_as_hosts_get_free() -> None:
    world = a_world("a", "b", "c", "d")
    other = world.submit(spec(nodes=1, name="other")).id
    job = running(world, spec(nodes=2, spares=1))
    assert places(world, job) == "b c (d)"
    lose(world, "c")
    run(world, job)
    assert places(world, job) == "b d"
    world.start(other)
    world.start(other)
    world.end(world.held(other)[0].id)
    assert places(world, job) == "b d (a)"
    lose(world, "a")
    assert places(world, job) == "b d"
    run(world, job)
    assert world.job(job).generation == 2, "a lost spare disturbed the gang"
    world.asleep.clear()
    world.open(host(world, "c"))
    world.probe_all()
    assert places(world, job) == "b d (c)"


def test_a_job_starts_without_the_spares_that_do_not_fit() -> None:
    world = a_world("a", "b", "c")
    job = running(world, spec(spares=4))
    assert places(world, job) == "a b c"
    world.add_host("d", hardware(1, prefix="d"))
    assert places(world, job) == "a b c (d)"


def test_who_waits_is_served_before_spares_are_held() -> None:
    world = a_world("a", "b", "c")
    job = running(world, spec(spares=1))
    waiting = world.submit(spec(nodes=1)).id
    world.add_host("d", hardware(1, prefix="d"))
    assert (places(world, job), places(world, waiting)) == ("a b c", "d")


def test_two_lost_members_are_replaced_by_two_spares_at_once() -> None:
    world = a_world("a", "b", "c", "d", "e")
    job = running(world, spec(spares=2))
    lose(world, "a", "c")
    run(world, job)
    assert (places(world, job), world.job(job).generation) == ("d b e", 2)


def test_spares_are_let_go_with_the_end_of_the_job() -> None:
    for stop in (True, False):
        world = a_world("a", "b", "c")
        job = running(world, spec(nodes=2, spares=1))
        waiting = world.submit(spec(nodes=1)).id
        if stop:
            world.post(StopRequested(job, "ann"))
            assert places(world, waiting) == "c", "held while the nodes stop"
            world.start(job)
        else:
            for allocation in world.held(job)[:2]:
                world.end(allocation.id)
        assert world.job(job).state is (JobState.STOPPED if stop else JobState.DONE)
        assert world.held(job) == []


def test_a_spare_on_a_cordoned_host_is_let_go() -> None:
    world = a_world("a", "b", "c", "d")
    job = running(world, spec(nodes=2, spares=1))
    world.post(CordonRequested("c", cordoned=True))
    assert places(world, job) == "a b (d)"


def test_a_spare_that_a_member_does_not_reach_is_let_go() -> None:
    world = a_world("a", "b", "c")
    job = running(world, spec(nodes=2, spares=1))
    world.cut = {("a", "c")}
    world.report(host(world, "a"), probes=(world.reach(host(world, "a"), host(world, "c")),))
    assert places(world, job) == "a b"


def test_hosts_of_another_network_are_no_spares() -> None:
    world = World()
    for name, net in (("a", "x"), ("b", "x"), ("c", "y"), ("d", None)):
        world.add_host(name, hardware(1, prefix=name), HostFacts(network=net))
    job = running(world, spec(nodes=2, spares=2))
    assert places(world, job) == "a b (d)"


def test_a_spare_that_can_not_be_prepared_rests_before_the_next_one_is_tried() -> None:
    world = a_world("a", "b", "c")
    job = running(world, spec(nodes=2, spares=1))
    before = world.held(job)[-1]
    world.end(before.id, None, EndCause.START_FAILED)
    assert places(world, job) == "a b"
    world.advance(61.0)
    assert places(world, job) == "a b (c)"
    assert world.held(job)[-1].id != before.id, "an id means one allocation"


def test_a_restored_backup_lets_spares_go_and_leaves_the_gang_alone() -> None:
    world = a_world("a", "b", "c")
    job = running(world, spec(nodes=2, spares=1))
    before = world.held(job)[-1]
    world.restart()
    world.post(BackupRestored(60.0))
    for name in "abc":
        world.open(host(world, name))
    world.probe_all()
    assert (places(world, job), world.state.gangs[job].phase) == ("a b", GangPhase.RUNNING)
    world.advance(LOST_SECONDS)
    assert places(world, job) == "a b (c)"
    assert world.held(job)[-1].attempt > before.attempt + 1, "an id that may have been given out since"


def test_the_plan_names_the_spares_that_would_be_held() -> None:
    world = a_world("a", "b", "c", "d")
    wanted = spec(nodes=2, spares=1)
    planned = trial.plan(world.state, wanted, "ann").spares
    assert [world.state.hosts[spare.host_id].name for spare in planned] == ["c"]
    job = running(world, wanted)
    assert places(world, job) == "a b (c)"


def test_a_master_that_ends_before_its_group_is_formed_ends_the_group_and_is_not_done() -> None:
    world = World()
    for name in ("one", "two"):
        world.add_host(name, hardware(1, prefix=name))
    job = world.submit(
        JobSpec(argv=("x",), nodes=2, placement=Placement.CLUSTER, stop_criteria=StopCriteria.MASTER_DONE)
    )
    world.end(world.held(job.id)[0].id, 0)
    world.start(job.id)
    assert world.job(job.id).state is JobState.FAILED
