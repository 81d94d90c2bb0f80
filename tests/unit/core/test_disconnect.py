"""`on_disconnect`: how long a node is waited for whose host is away, what is said of it meanwhile, and the ways out."""

from __future__ import annotations

import pytest

from coordinator import snapshots
from coordinator.core.errors import Conflict, HostForgotten, Invalid
from coordinator.core.events import HostReported, RemovalRequested, StopRequested
from coordinator.core.ids import HostId
from coordinator.core.model import EndCause, Host, HostState, Job, JobState, NodeState, Phase
from coordinator.core.spec import DisconnectAction, JobSpec, OnDisconnect, Placement, RetryPolicy
from tests.fakes.world import World, hardware

KEEP = OnDisconnect(DisconnectAction.KEEP)


def any_job(rule: OnDisconnect) -> JobSpec:
    return JobSpec(argv=("x",), placement=Placement.ANY, on_disconnect=rule)


def away(rule: OnDisconnect, hosts: int = 2) -> tuple[World, Job, Host]:
    """A job that runs on one of two hosts, which has just become silent."""
    world = World()
    for number in range(hosts):
        world.add_host(f"host{number}", hardware(cpus=1, prefix=f"host{number}"))
    job = world.submit(any_job(rule))
    world.start(job.id)
    host = world.state.hosts[world.held(job.id)[0].host_id]
    world.asleep.add(host.id)
    return world, job, host


def back(world: World, host: HostId) -> None:
    world.asleep.discard(host)
    world.open(host)


def said(world: World, job: Job) -> tuple[str, str]:
    """The reasons of the job and of its first node, as users see them."""
    detail = snapshots.job_detail(world.state, world.job(job.id))
    return detail.job.reason, detail.nodes[0].node.reason


def test_a_kept_node_waits_for_its_host_for_ever_and_then_goes_on() -> None:
    world, job, host = away(KEEP)
    world.advance(100_000.0)
    (held,) = world.held(job.id)
    assert (held.attempt, held.wanted, held.host_id) == (1, Phase.RUNNING, host.id)
    assert world.state.hosts[host.id].state is HostState.LOST
    reason = f"host {host.name} is away since 1970-01-01 00:16:40 UTC; kept (on_disconnect: keep)"
    assert said(world, job) == (reason, reason)
    back(world, host.id)
    assert said(world, job) == ("", "")
    world.end(held.id, 0)
    assert world.job(job.id).state is JobState.DONE


def test_a_node_kept_for_a_time_is_given_up_after_it_and_not_tried_again() -> None:
    world, job, host = away(OnDisconnect(DisconnectAction.KEEP, 600.0))
    world.advance(605.0)
    assert world.held(job.id), "given up before its host has certainly stopped it"
    world.advance(5.0)
    assert world.held(job.id) == []
    node = world.node(job.id, 0)
    assert (node.state, node.cause, node.attempt) == (NodeState.FAILED, EndCause.HOST, 1)
    assert node.reason == (
        f"host {host.name} lost: not heard of for over 600 s, for which the node was kept there "
        "(on_disconnect: keep, never placed twice)"
    )
    assert world.job(job.id).state is JobState.FAILED


def test_not_even_a_policy_to_retry_places_a_kept_node_twice() -> None:
    world = World()
    world.add_host("one")
    world.add_host("two")
    rule = OnDisconnect(DisconnectAction.KEEP, 60.0)
    job = world.submit(JobSpec(argv=("x",), placement=Placement.ANY, on_disconnect=rule, retry=RetryPolicy()))
    world.start(job.id)
    world.asleep.add(world.held(job.id)[0].host_id)
    world.advance(100.0)
    assert (world.job(job.id).state, world.node(job.id, 0).attempt) == (JobState.FAILED, 1)


def test_a_node_that_is_stopped_later_is_placed_elsewhere_only_then() -> None:
    world, job, host = away(OnDisconnect(DisconnectAction.STOP, 600.0))
    world.advance(605.0)
    assert [a.attempt for a in world.held(job.id)] == [1]
    assert "given up after 600 s" in said(world, job)[0]
    world.advance(5.0)
    (moved,) = world.held(job.id)
    assert (moved.attempt, moved.host_id == host.id) == (2, False)


@pytest.mark.parametrize("action", DisconnectAction)
def test_a_time_shorter_than_the_lease_is_refused(action: DisconnectAction) -> None:
    world = World()
    with pytest.raises(Invalid, match=r"after: 20s is shorter than this cluster's lease of 30s"):
        world.submit(any_job(OnDisconnect(action, 20.0)))
    world.submit(any_job(OnDisconnect(action, 30.0)))


def test_a_stop_waits_for_the_host_and_wins_when_it_is_back() -> None:
    world, job, host = away(KEEP)
    world.advance(60.0)
    world.post(StopRequested(job.id, "ann"))
    world.advance(1000.0)
    assert world.job(job.id).state is JobState.STOPPING
    reason = f"stopped by ann; waits for host {host.name}, which is away"
    assert said(world, job) == (reason, reason)
    back(world, host.id)
    world.start(job.id)
    assert world.job(job.id).state is JobState.STOPPED


def test_a_goodbye_changes_nothing_of_it() -> None:
    world, job, host = away(KEEP)
    world.post(HostReported(host.id, world.state.hosts[host.id].epoch, goodbye=True))
    world.advance(1000.0)
    assert world.state.hosts[host.id].state is HostState.OFFLINE
    assert "kept (on_disconnect: keep)" in said(world, job)[0]
    assert [a.attempt for a in world.held(job.id)] == [1]


def test_a_restart_of_the_coordinator_counts_anew() -> None:
    world, job, _ = away(OnDisconnect(DisconnectAction.KEEP, 100.0))
    world.advance(90.0)
    world.restart()
    for other in list(world.state.hosts):
        if other not in world.asleep:
            world.open(other)
    world.advance(100.0)
    assert world.held(job.id), "given up after less than the whole time since the restart"
    world.advance(10.0)
    assert world.job(job.id).state is JobState.FAILED


def test_a_host_that_is_lost_and_back_is_noted_once_and_one_that_is_only_late_is_not() -> None:
    world, _, host = away(KEEP)
    world.advance(100_000.0)
    world.asleep.discard(host.id)
    world.report(host.id)
    world.open(host.id)
    world.asleep.add(host.id)
    world.advance(world.state.timing.suspect + 1.0)
    assert world.state.hosts[host.id].state is HostState.SUSPECT
    world.open(host.id)
    assert [event.kind for event in world.state.events if event.host_id == host.id] == ["joined", "lost", "back"]


def test_a_host_that_rebooted_lost_its_node_for_certain() -> None:
    world, job, host = away(KEEP)
    world.advance(100.0)
    back(world, host.id)
    world.end(world.held(job.id)[0].id, None, EndCause.HOST)
    assert [a.attempt for a in world.held(job.id)] == [2]


def test_a_host_that_was_heard_of_again_counts_anew() -> None:
    world, job, host = away(OnDisconnect(DisconnectAction.KEEP, 60.0))
    world.advance(50.0)
    back(world, host.id)
    world.advance(10.0)
    world.asleep.add(host.id)
    world.advance(55.0)
    assert [a.attempt for a in world.held(job.id)] == [1]


def gang(rule: OnDisconnect) -> tuple[World, Job, HostId]:
    world = World()
    world.add_host("one")
    world.add_host("two")
    job = world.submit(JobSpec(argv=("x",), nodes=2, on_disconnect=rule))
    return world, job, world.held(job.id)[1].host_id


def test_a_kept_generation_outlasts_the_absence_of_a_member() -> None:
    world, job, host = gang(KEEP)
    world.start(job.id)
    world.asleep.add(host)
    world.advance(10_000.0)
    assert [(a.attempt, a.wanted) for a in world.held(job.id)] == [(1, Phase.RUNNING)] * 2
    back(world, host)
    for held in world.held(job.id):
        world.end(held.id, 0)
    assert world.job(job.id).state is JobState.DONE


def test_a_generation_kept_for_a_time_ends_after_it_for_good() -> None:
    world, job, host = gang(OnDisconnect(DisconnectAction.KEEP, 60.0))
    world.start(job.id)
    world.asleep.add(host)
    world.advance(70.0)
    world.start(job.id)
    assert (world.job(job.id).state, world.job(job.id).generation) == (JobState.FAILED, 1)
    assert "never placed twice" in world.job(job.id).reason


def test_what_was_only_prepared_is_let_go_with_the_lease() -> None:
    """No process of it can go on, so that nobody has to wait for the host."""
    world, job, host = gang(KEEP)
    world.asleep.add(host)
    world.advance(40.0)
    assert host not in {a.host_id for a in world.held(job.id)}


def test_a_host_that_is_gone_for_good_loses_what_was_kept_for_it() -> None:
    world, job, host = away(KEEP)
    with pytest.raises(Conflict, match=r"is in contact, so it is not gone"):
        world.post(RemovalRequested(host.name, gone=True, user="ann"))
    world.advance(100.0)
    with pytest.raises(Conflict, match=rf"coordinator host remove {host.name} --gone"):
        world.post(RemovalRequested(host.name))
    world.post(RemovalRequested(host.name, gone=True, user="ann"))
    (moved,) = world.held(job.id)
    assert (moved.attempt, moved.host_id == host.id) == (2, False)
    assert world.node(job.id, 0).reason.endswith(f"host {host.name} is gone for good, says ann")
    with pytest.raises(HostForgotten):
        world.post(HostReported(host.id, host.epoch))


def test_a_stopped_job_ends_when_its_host_is_declared_gone() -> None:
    world, job, host = away(KEEP)
    world.advance(100.0)
    world.post(StopRequested(job.id, "ann"))
    world.post(RemovalRequested(host.name, gone=True, user="ann"))
    assert world.job(job.id).state is JobState.STOPPED


def test_a_host_that_is_waited_for_says_so() -> None:
    world, _, host = away(KEEP)
    world.advance(100.0)
    warning = snapshots.host_view(world.state, host.id, "").warning
    assert (
        warning == f"away, and 1 node waits for it; if it is gone for good: coordinator host remove {host.name} --gone"
    )
