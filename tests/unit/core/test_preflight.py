"""What a group measures before it starts: who with whom, what is slow, and what follows from it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.core import explain
from coordinator.core.desired import desired_of
from coordinator.core.events import AllocationStatus, StopRequested
from coordinator.core.ids import JobId
from coordinator.core.measured import Answer, Device, DeviceSpeed, Link
from coordinator.core.model import GangPhase, JobState, Phase
from coordinator.core.outliers import Findings, findings
from coordinator.core.pairings import ALL_PAIRS, rounds_of
from coordinator.core.spec import JobSpec, OnSlow, PreflightKind, PreflightPolicy
from tests.fakes.world import World, hardware

# ---------------------------------------------------------------- who measures with whom


@given(st.integers(1, 300))
def test_nobody_is_in_two_measurements_at_once_and_no_pair_measures_twice(members: int) -> None:
    rounds = rounds_of(members)
    for pairs in rounds:
        ranks = [rank for pair in pairs for rank in pair]
        assert len(set(ranks)) == len(ranks)
        assert all(0 <= a < b < members for a, b in pairs)
    pairs = [pair for round_ in rounds for pair in round_]
    assert len(set(pairs)) == len(pairs)


@given(st.integers(2, ALL_PAIRS))
def test_of_a_small_group_all_pairs_measure(members: int) -> None:
    pairs = {pair for round_ in rounds_of(members) for pair in round_}
    assert len(pairs) == members * (members - 1) // 2
    assert len(rounds_of(members)) == members - 1 + members % 2


@given(st.integers(ALL_PAIRS + 1, 300))
def test_of_a_large_group_each_measures_with_both_neighbours_in_few_rounds(members: int) -> None:
    pairs = {pair for round_ in rounds_of(members) for pair in round_}
    assert all(tuple(sorted((rank, (rank + 1) % members))) in pairs for rank in range(members))
    assert len(rounds_of(members)) <= 3 + members.bit_length()


# ---------------------------------------------------------------- what is slow

NAMES = [f"gpu-{number}" for number in range(8)]


def links_of(members: int, slow: dict[tuple[str, str], float], usual: float = 9.4e9) -> list[Link]:
    """The links that a group measures, both ways."""
    pairs = [pair for round_ in rounds_of(members) for pair in round_]
    ways = [(NAMES[a], NAMES[b]) for pair in pairs for a, b in (pair, pair[::-1])]
    return [Link(a, b, slow.get((a, b), usual), 0.0002) for a, b in ways]


def judge(members: int, links: list[Link], policy: PreflightPolicy | None = None) -> Findings:
    return findings(NAMES[:members], links, [], policy or PreflightPolicy())


def test_a_slow_link_is_named_with_both_ends_and_the_figures() -> None:
    found = judge(8, links_of(8, {("gpu-3", "gpu-7"): 0.9e9}))
    assert found.slow == ("gpu-3 -> gpu-7: 900 Mbit/s, the median is 9.4 Gbit/s",)
    assert (found.blamed, found.limit) == (("gpu-7",), False)


@pytest.mark.parametrize("members", range(3, 9))
@given(data=st.data())
def test_a_host_all_of_whose_links_are_slow_is_the_one_to_blame(members: int, data: st.DataObject) -> None:
    bad = data.draw(st.sampled_from(NAMES[:members]))
    noise = st.floats(0.8, 1.25)
    links = [
        replace(link, bandwidth=(0.5e9 if bad in (link.source, link.target) else 9e9) * data.draw(noise))
        for link in links_of(members, {})
    ]
    found = judge(members, links)
    assert found.blamed == (bad,)
    assert all(bad in line for line in found.slow)


@given(st.integers(2, 8), st.data())
def test_what_differs_little_is_not_slow(members: int, data: st.DataObject) -> None:
    links = [replace(link, bandwidth=data.draw(st.floats(6e9, 10e9))) for link in links_of(members, {})]
    assert judge(members, links).slow == ()


def test_a_group_of_two_kinds_of_hosts_is_mixed_and_not_slow() -> None:
    old = NAMES[:2]
    slow = {(a, b): 1e9 for a in NAMES for b in NAMES if a in old or b in old}
    assert judge(4, links_of(4, slow)).slow == ()
    limit = judge(4, links_of(4, slow), PreflightPolicy(min_bandwidth=5e9))
    assert (limit.blamed, limit.limit) == (("gpu-0", "gpu-1"), True)


def test_two_members_are_not_compared() -> None:
    assert judge(2, links_of(2, {("gpu-0", "gpu-1"): 1e9})).slow == ()
    assert judge(2, links_of(2, {("gpu-0", "gpu-1"): 1e9}), PreflightPolicy(min_bandwidth=2e9)).blamed == ("gpu-1",)


def test_limits_of_the_job_hold_for_every_pair() -> None:
    links = [Link("a", "b", 9e9, 0.004), Link("b", "a", 12e9, 0.004)]
    found = findings(["a", "b"], links, [], PreflightPolicy(min_bandwidth=10e9, max_latency=0.001))
    assert found.slow == (
        "a -> b: 9 Gbit/s, the median is 12 Gbit/s, 10 Gbit/s is asked for; "
        "4 ms there and back, the median is 4 ms, 1 ms is asked for",
        "b -> a: 4 ms there and back, the median is 4 ms, 1 ms is asked for",
    )


def test_a_far_host_is_named_by_its_latency_and_half_a_millisecond_is_not_far() -> None:
    def with_latency(seconds: float) -> Findings:
        links = links_of(4, {})
        return judge(4, [replace(x, latency=seconds) if "gpu-2" in (x.source, x.target) else x for x in links])

    assert with_latency(0.0006).slow == ()
    assert with_latency(0.03).blamed == ("gpu-2",)
    assert "30 ms there and back, the median is 0.2 ms" in with_latency(0.03).slow[0]


def test_gpus_are_compared_with_those_of_their_model() -> None:
    fast = [Device(f"gpu-{n}", f"GPU-{n}", "H100", 640e12) for n in range(3)]
    others = [Device("gpu-3", "GPU-9", "A100", 250e12), Device("gpu-3", "GPU-10", "H100", 410e12)]
    found = findings(NAMES[:4], [], [*fast, *others], PreflightPolicy())
    assert found.slow == ("GPU-10 of gpu-3 (H100): 410 TFLOP/s, the median is 640 TFLOP/s",)
    assert found.blamed == ("gpu-3",)


# ---------------------------------------------------------------- what follows


def a_world(*names: str) -> World:
    world = World()
    for name in names:
        world.add_host(name, hardware(1, prefix=name))
    return world


def spec(nodes: int = 4, **policy: object) -> JobSpec:
    return JobSpec(argv=("x",), nodes=nodes, preflight=PreflightPolicy(**policy))  # type: ignore[arg-type]


def slow_host(world: World, name: str, speed: float = 0.9e9) -> None:
    others = [host.name for host in world.state.hosts.values() if host.name != name]
    world.speeds |= {pair: speed for other in others for pair in ((name, other), (other, name))}


def obey_all(world: World, job: JobId, times: int = 1) -> None:
    for _ in range(times):
        for allocation in world.held(job):
            if allocation.id in world.state.allocations and allocation.host_id not in world.asleep:
                world.obey(world.state.allocations[allocation.id])


def phases(world: World, job: JobId) -> set[Phase]:
    return {allocation.wanted for allocation in world.held(job)}


def hosts_of(world: World, job: JobId) -> list[str]:
    return [world.state.hosts[a.host_id].name for a in world.held(job)]


def test_a_group_measures_round_by_round_and_then_starts_whole() -> None:
    world = a_world("a", "b", "c", "d")
    job = world.submit(spec()).id
    obey_all(world, job)
    said = [explain.summary(world.state, world.job(job))]
    while phases(world, job) == {Phase.PREPARED}:
        obey_all(world, job)
        said.append(explain.summary(world.state, world.job(job)))
    assert [line.partition("; ")[2] for line in said[:3]] == [f"preflight: round {n} of 3" for n in (1, 2, 3)]
    assert phases(world, job) == {Phase.RUNNING}
    report = world.job(job).preflight
    assert report is not None
    assert (len(report.links), report.slow, report.bandwidth) == (12, (), pytest.approx(9.4e9))
    assert (report.latency, world.job(job).reason) == (pytest.approx(0.0002), "")


def test_a_group_without_a_preflight_starts_in_the_turn_of_its_last_preparation() -> None:
    world = a_world("a", "b")
    job = world.submit(JobSpec(argv=("x",), nodes=2)).id
    obey_all(world, job)
    assert phases(world, job) == {Phase.RUNNING}
    assert not world.state.measuring


def test_a_single_node_has_no_pair_to_measure() -> None:
    world = a_world("a")
    job = world.submit(spec(nodes=1)).id
    obey_all(world, job)
    assert phases(world, job) == {Phase.RUNNING}


def test_each_member_is_told_its_partner_and_one_of_the_two_calls() -> None:
    world = a_world("a", "b", "c")
    job = world.submit(spec(nodes=3)).id
    obey_all(world, job)
    orders = [desired_of(world.state, allocation.id) for allocation in world.held(job)]
    told = [order.measures for order in orders if order is not None]
    assert sum(order is None for order in told) == 1  # of three one rests
    pair = [order for order in told if order is not None]
    assert [order.calls for order in pair] == [True, False]
    assert {order.address for order in pair} == {order.peer.address for order in pair if order.peer is not None}


def test_the_slow_host_is_replaced_and_the_reason_says_why() -> None:
    world = a_world("a", "b", "c", "d", "e")
    slow_host(world, "c")
    job = world.submit(spec()).id
    obey_all(world, job, 12)
    assert hosts_of(world, job) == ["a", "b", "e", "d"]
    assert phases(world, job) == {Phase.RUNNING}
    reason = world.job(job).reason
    assert "preflight: a -> c: 900 Mbit/s, the median is 9.4 Gbit/s" in reason
    assert reason.endswith("rank 2 moved from c to e: that host is slow")
    assert world.job(job).host_failures == 0


def test_without_another_host_the_group_starts_with_the_slow_one_and_says_so() -> None:
    world = a_world("a", "b", "c", "d")
    slow_host(world, "c")
    job = world.submit(spec()).id
    obey_all(world, job, 20)
    assert (hosts_of(world, job), phases(world, job)) == (["a", "b", "c", "d"], {Phase.RUNNING})
    assert world.job(job).reason.endswith("no other group was formed: no other host was free")


@pytest.mark.parametrize("on_slow", [OnSlow.REPLACE, OnSlow.FAIL])
def test_a_limit_that_no_group_keeps_fails_the_job(on_slow: OnSlow) -> None:
    world = a_world("a", "b", "c")
    job = world.submit(spec(nodes=3, min_bandwidth=100e9, on_slow=on_slow)).id
    obey_all(world, job, 8)
    assert world.job(job).state is JobState.FAILED
    assert "a -> b: 9.4 Gbit/s, the median is 9.4 Gbit/s, 100 Gbit/s is asked for" in world.job(job).reason
    assert world.job(job).exit_code == 1


def test_a_warning_starts_the_group() -> None:
    world = a_world("a", "b", "c", "d", "e")
    slow_host(world, "c")
    job = world.submit(spec(on_slow=OnSlow.WARN)).id
    obey_all(world, job, 6)
    assert (hosts_of(world, job), phases(world, job)) == (["a", "b", "c", "d"], {Phase.RUNNING})
    assert world.job(job).reason.startswith("preflight: a -> c: 900 Mbit/s")


def test_wrong_limits_do_not_walk_a_group_through_the_whole_fleet() -> None:
    names = [f"h{number}" for number in range(12)]
    world = a_world(*names)
    for name in names[3:]:
        slow_host(world, name)
    job = world.submit(spec(nodes=4, min_bandwidth=5e9)).id
    obey_all(world, job, 60)
    assert (world.job(job).state, world.job(job).generation) == (JobState.FAILED, 4)
    assert world.job(job).reason.endswith("no other group was formed: 3 were formed already")


def test_a_pair_that_does_not_reach_each_other_is_named() -> None:
    world = a_world("a", "b", "c", "d", "e")
    job = world.submit(spec()).id
    obey_all(world, job)
    world.cut = {("b", "d")}
    obey_all(world, job, 12)
    assert hosts_of(world, job) == ["a", "b", "c", "e"]
    assert "preflight: b -> d: timed out" in world.job(job).reason


def test_a_member_that_does_not_answer_was_not_reached() -> None:
    world = a_world("a", "b", "c", "d", "e")
    job = world.submit(spec()).id
    obey_all(world, job)
    mute = world.held(job)[0]
    for _ in range(3):
        for allocation in world.held(job)[1:]:
            world.obey(allocation)
        world.advance(18.0)
    obey_all(world, job, 9)
    assert "a -> d: no answer from a within 17 s" in world.job(job).reason
    assert world.state.hosts[mute.host_id].name not in hosts_of(world, job)
    assert phases(world, job) == {Phase.RUNNING}


def test_a_host_that_is_lost_while_it_measures_ends_the_generation() -> None:
    world = a_world("a", "b", "c", "d", "e")
    job = world.submit(spec()).id
    obey_all(world, job)
    world.asleep.add(world.held(job)[1].host_id)
    world.advance(40.0)
    obey_all(world, job, 12)
    assert (hosts_of(world, job), phases(world, job)) == (["a", "e", "c", "d"], {Phase.RUNNING})


def test_a_stop_while_it_measures_starts_nothing() -> None:
    world = a_world("a", "b", "c", "d")
    job = world.submit(spec()).id
    obey_all(world, job, 2)
    world.post(StopRequested(job, "ann"))
    assert (phases(world, job), world.state.measuring) == ({Phase.STOPPING}, {})
    obey_all(world, job)
    assert world.job(job).state is JobState.STOPPED
    world.advance(200.0)
    assert not world.state.allocations


def test_after_a_restart_in_the_middle_the_group_measures_again_and_starts() -> None:
    world = a_world("a", "b", "c", "d")
    job = world.submit(spec()).id
    obey_all(world, job, 2)
    assert world.state.measuring[job].number == 2
    world.restart()
    assert (world.state.measuring, world.state.gangs[job].phase) == ({}, GangPhase.PREPARING)
    for host in tuple(world.state.hosts):
        world.open(host)
    for allocation in world.held(job)[:-1]:
        world.obey(allocation)
        assert not world.state.measuring  # it is not known yet whom the last one reaches
    obey_all(world, job, 8)
    assert (phases(world, job), world.job(job).generation) == ({Phase.RUNNING}, 1)


def test_after_a_restart_who_does_not_say_whom_it_reaches_lets_the_group_go() -> None:
    world = a_world("a", "b", "c")
    job = world.submit(spec(nodes=3)).id
    obey_all(world, job, 2)
    world.restart()
    for host in tuple(world.state.hosts):
        world.open(host)
    for allocation in world.held(job)[1:]:
        world.obey(allocation)
    world.advance(121.0)
    assert phases(world, job) == {Phase.STOPPING}
    assert world.state.gangs[job].reason == "rendezvous failed: a not prepared within 120 s"


def test_a_master_that_holds_another_port_by_then_is_told_to_all() -> None:
    world = a_world("a", "b")
    job = world.submit(spec(nodes=2)).id
    obey_all(world, job)
    master = world.held(job)[0]
    order = desired_of(world.state, master.id)
    assert order is not None
    assert order.measures is not None
    answer = world.measure(master.host_id, order.measures)
    world.report(master.host_id, AllocationStatus(master.id, Phase.PREPARED, master_port=31000, answer=answer))
    group = world.state.gangs[job].group
    assert group is not None
    assert group.master_port == 31000


def test_hosts_without_torch_say_so_and_the_network_counts() -> None:
    world = a_world("a", "b", "c", "d", "e")
    slow_host(world, "b")
    job = world.submit(spec(kind=PreflightKind.COLLECTIVES)).id
    obey_all(world, job, 20)
    assert (hosts_of(world, job), phases(world, job)) == (["a", "e", "c", "d"], {Phase.RUNNING})
    report = world.job(job).preflight
    assert report is not None
    assert report.notes == ("no all-reduce: a, c, d and 1 more: no torch",)
    assert world.job(job).reason.endswith("that host is slow; preflight: no all-reduce: a, c, d and 1 more: no torch")


@pytest.mark.parametrize(("on_slow", "state"), [(OnSlow.FAIL, JobState.FAILED), (OnSlow.REPLACE, JobState.RUNNING)])
def test_an_all_reduce_that_fails_though_torch_is_there_is_a_finding(on_slow: OnSlow, state: JobState) -> None:
    world = a_world("a", "b")
    job = world.submit(spec(nodes=2, kind=PreflightKind.COLLECTIVES, on_slow=on_slow)).id
    obey_all(world, job)
    world.obey(world.held(job)[0])
    for allocation in world.held(job):
        answer = Answer(2, "DistBackendError: NCCL error")
        world.report(allocation.host_id, AllocationStatus(allocation.id, Phase.PREPARED, answer=answer))
    obey_all(world, job)
    assert world.job(job).state is state
    assert "preflight: no all-reduce: a, b: DistBackendError: NCCL error" in world.job(job).reason


def test_a_slow_gpu_is_replaced_with_its_host() -> None:
    world = a_world("a", "b", "c", "d", "e")
    for host in world.state.hosts.values():
        flops = 410e12 if host.name == "d" else 640e12
        world.devices[host.id] = (DeviceSpeed(f"GPU-{host.name}", "H100", flops),)
    job = world.submit(spec(kind=PreflightKind.COLLECTIVES)).id
    obey_all(world, job, 20)
    assert hosts_of(world, job) == ["a", "b", "c", "e"]
    assert "preflight: GPU-d of d (H100): 410 TFLOP/s, the median is 640 TFLOP/s" in world.job(job).reason
