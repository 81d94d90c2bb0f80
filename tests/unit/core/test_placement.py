"""Where nodes are put, and what is said of those that are not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from coordinator.core import explain, trial
from coordinator.core.effects import ProbesWanted
from coordinator.core.errors import Conflict, NotFound
from coordinator.core.events import CordonRequested, HostReported, RemovalRequested, StopRequested
from coordinator.core.gpus import gpu_is, gpu_mismatch
from coordinator.core.hardware import Gpu
from coordinator.core.model import EndCause, HostFacts, JobState, NodeState, Phase
from coordinator.core.spec import GpuRequest, JobSpec, Placement, Range, Resources, StopCriteria
from tests.fakes.world import World, hardware

ANY = Placement.ANY
CLUSTER = Placement.CLUSTER


def gpus(count: int, *names: str) -> Resources:
    return Resources(gpu=GpuRequest(names=names, count=Range(count, count)))


def test_any_takes_the_cheapest_host_first() -> None:
    world = World()
    world.add_host("dear", facts=HostFacts(price_per_hour=3.0))
    cheap = world.add_host("cheap", facts=HostFacts(price_per_hour=0.5))
    job = world.submit(JobSpec(argv=("x",), placement=ANY, nodes=2))
    assert [a.host_id for a in world.held(job.id)] == [cheap.id, cheap.id]


def test_any_spreads_over_hosts_of_one_price() -> None:
    world = World()
    one, two = world.add_host("one"), world.add_host("two")
    job = world.submit(JobSpec(argv=("x",), placement=ANY, nodes=2))
    assert {a.host_id for a in world.held(job.id)} == {one.id, two.id}


def test_what_ends_makes_room_in_the_same_turn() -> None:
    world = World()
    world.add_host("one", hardware(cpus=1))
    job = world.submit(JobSpec(argv=("x",), placement=ANY, nodes=3))
    for rank in range(3):
        (held,) = world.held(job.id)
        assert held.rank == rank
        world.end(held.id)
    assert world.job(job.id).state is JobState.DONE
    assert world.job(job.id).exit_code == 0


def test_gpus_are_held_by_uuid_and_only_once() -> None:
    world = World()
    world.add_host("one", hardware(cpus=16, gpus=8, prefix="one"))
    job = world.submit(JobSpec(argv=("x",), placement=ANY, nodes=5, resources=gpus(2, "H100")))
    held = world.held(job.id)
    assert len(held) == 4
    assert len({gpu for a in held for gpu in a.gpus}) == 8
    assert "needs 2 GPUs, 0 of 8 that match are free" in explain.summary(world.state, world.job(job.id))


@pytest.mark.parametrize(
    ("resources", "words"),
    [
        (gpus(1), "needs 1 GPU, has none"),
        (Resources(cpus=Range(64)), "needs 64 CPUs, has 4"),
        (Resources(memory_bytes=Range(64 << 30)), "needs 64 GB of memory, has 16 GB"),
        (Resources(cpu_arch="arm"), "needs a CPU of arm, has x86"),
        (Resources(disk_bytes=Range(1 << 40)), "needs 1024 GB of disk, has 0 GB"),
    ],
)
def test_what_no_host_could_ever_hold_says_so_at_once_with_the_numbers(resources: Resources, words: str) -> None:
    world = World()
    world.add_host("one")
    job = world.submit(JobSpec(argv=("x",), placement=ANY, resources=resources))
    said = f"no host could ever hold a node of this job, even when idle: one: {words}"
    assert explain.impossible(world.state, job.spec) == said
    assert explain.summary(world.state, job) == said


def test_without_any_host_a_job_waits() -> None:
    world = World()
    job = world.submit(JobSpec(argv=("x",), resources=gpus(1)))
    assert job.state is JobState.QUEUED
    assert "none has joined" in explain.summary(world.state, job)


def test_a_mixed_host_gives_gpus_of_the_model_that_is_asked_for() -> None:
    world = World()
    h100, t4 = hardware(gpus=2, prefix="H"), hardware(gpus=1, model="Tesla T4", prefix="T")
    both = hardware(cpus=8)
    mixed = type(both)(**{**{f: getattr(both, f) for f in both.__slots__}, "gpus": h100.gpus + t4.gpus})
    world.add_host("mixed", mixed)
    job = world.submit(JobSpec(argv=("x",), placement=ANY, resources=gpus(1, "T4")))
    assert [a.gpus for a in world.held(job.id)] == [("T-0",)]


def test_one_mig_instance_is_a_gpu_and_several_are_not_several_gpus() -> None:
    parts = tuple(Gpu(f"MIG-{i}", 0, "NVIDIA A100-SXM4-40GB MIG 1g.5gb", parent="GPU-0") for i in range(3))
    world = World()
    world.add_host("split", replace(hardware(cpus=8), gpus=parts))
    assert [a.gpus for a in world.held(world.submit(JobSpec(argv=("x",), resources=gpus(1, "A100"))).id)] == [
        ("MIG-0",)
    ]
    (exact,) = world.held(world.submit(JobSpec(argv=("x",), resources=gpus(1, "1g.5gb"))).id)
    assert exact.gpus == ("MIG-1",)
    two = JobSpec(argv=("x",), resources=gpus(2, "A100"))
    assert "is a MIG instance, of which a program can use only one at a time" in explain.impossible(world.state, two)


def test_a_gang_is_reserved_whole_or_not_at_all() -> None:
    world = World()
    for name in "abc":
        world.add_host(name, hardware(cpus=1))
    first = world.submit(JobSpec(argv=("x",), nodes=2))
    second = world.submit(JobSpec(argv=("x",), nodes=2))
    assert len(world.held(first.id)) == 2
    assert world.held(second.id) == []
    world.start(first.id)
    for allocation in world.held(first.id):
        world.end(allocation.id)
    assert len(world.held(second.id)) == 2


def test_a_gang_starts_only_when_the_last_member_is_prepared() -> None:
    world = World()
    for name in "abc":
        world.add_host(name)
    job = world.submit(JobSpec(argv=("x",), nodes=3))
    one, two, three = world.held(job.id)
    world.obey(one)
    world.obey(two)
    assert {a.wanted for a in world.held(job.id)} == {Phase.PREPARED}
    world.obey(three)
    assert {a.wanted for a in world.held(job.id)} == {Phase.RUNNING}
    group = world.state.gangs[job.id].group
    assert group is not None
    assert [m.rank for m in group.members] == [0, 1, 2]
    assert group.master_address == group.members[0].address


def test_a_cut_link_is_avoided_by_a_smaller_group_and_named_to_a_larger_one() -> None:
    world = World(cut={("a", "b")})
    hosts = {name: world.add_host(name) for name in "abcd"}
    three = world.submit(JobSpec(argv=("x",), nodes=3, name="three"))
    chosen = {a.host_id for a in world.held(three.id)}
    assert len(chosen) == 3
    assert not {hosts["a"].id, hosts["b"].id} <= chosen
    four = world.submit(JobSpec(argv=("x",), nodes=4, name="four"))
    reason = explain.summary(world.state, world.job(four.id))
    assert f"a -> b at {hosts['b'].peer.addresses[0]}:7000: timed out" in reason


def test_a_link_that_breaks_before_the_rendezvous_sends_the_group_elsewhere() -> None:
    world = World()
    for name in "abcd":
        world.add_host(name)
    job = world.submit(JobSpec(argv=("x",), nodes=3))
    world.cut = {("a", "b")}
    for _ in range(6):
        for allocation in world.held(job.id):
            if allocation.id in world.state.allocations:
                world.obey(world.state.allocations[allocation.id])
    assert world.job(job.id).state is JobState.RUNNING
    names = {world.state.hosts[a.host_id].name for a in world.held(job.id)}
    assert len(names) == 3
    assert not {"a", "b"} <= names


def test_hosts_of_two_stated_networks_are_never_one_group() -> None:
    world = World()
    for name, net in (("a", "x"), ("b", "x"), ("c", "y"), ("d", "y")):
        world.add_host(name, facts=HostFacts(network=net))
    job = world.submit(JobSpec(argv=("x",), nodes=3))
    assert world.held(job.id) == []
    assert "waits for a network of 3 hosts that all reach each other" in explain.summary(world.state, job)


def test_a_rank_that_fails_ends_its_gang_with_its_code() -> None:
    world = World()
    for name in "abc":
        world.add_host(name)
    job = world.submit(JobSpec(argv=("x",), nodes=3))
    world.start(job.id)
    world.end(world.held(job.id)[1].id, 3)
    assert {a.wanted for a in world.held(job.id)} == {Phase.STOPPING}
    world.start(job.id)
    ended = world.job(job.id)
    assert (ended.state, ended.exit_code) == (JobState.FAILED, 3)
    assert "node 1 on b: exit code 3" in ended.reason


def test_any_nodes_do_not_touch_each_other() -> None:
    world = World()
    world.add_host("one")
    job = world.submit(JobSpec(argv=("x",), placement=ANY, nodes=3))
    world.start(job.id)
    first, second, third = world.held(job.id)
    world.end(second.id, 7)
    assert {a.wanted for a in world.held(job.id)} == {Phase.RUNNING}
    world.end(first.id)
    world.end(third.id)
    ended = world.job(job.id)
    assert (ended.state, ended.exit_code) == (JobState.FAILED, 7)
    assert ended.reason == "1 of 3 nodes failed; first node 1: exit code 7"


def test_the_master_being_done_stops_the_others_and_is_success() -> None:
    world = World()
    world.add_host("a")
    world.add_host("b")
    job = world.submit(JobSpec(argv=("x",), nodes=2, stop_criteria=StopCriteria.MASTER_DONE))
    world.start(job.id)
    master, worker = world.held(job.id)
    world.end(master.id)
    world.obey(world.state.allocations[worker.id])
    assert (world.job(job.id).state, world.job(job.id).exit_code) == (JobState.DONE, 0)


def test_a_lost_host_moves_an_any_node_and_only_that() -> None:
    world = World()
    one, two = world.add_host("one", hardware(cpus=1)), world.add_host("two", hardware(cpus=2))
    job = world.submit(JobSpec(argv=("x",), placement=ANY, nodes=2))
    world.start(job.id)
    world.asleep.add(one.id)
    lost = next(a for a in world.held(job.id) if a.host_id == one.id)
    world.advance(34.0)
    assert lost.id in world.state.allocations, "placed again while its first copy may still run"
    world.advance(3.0)
    moved = next(a for a in world.held(job.id) if a.rank == lost.rank)
    assert (moved.host_id, moved.attempt) == (two.id, 2)
    assert world.node(job.id, lost.rank).reason == "attempt 1 on one: host one lost: not heard of for 36 s"
    assert [a.attempt for a in world.held(job.id) if a.rank != lost.rank] == [1]


def test_a_lost_host_makes_a_new_generation_without_it() -> None:
    world = World()
    hosts = {name: world.add_host(name) for name in "abc"}
    job = world.submit(JobSpec(argv=("x",), nodes=2))
    world.start(job.id)
    gone = world.held(job.id)[1].host_id
    world.asleep.add(gone)
    world.advance(36.0)
    world.start(job.id)
    world.start(job.id)
    assert world.job(job.id).generation == 2
    assert gone not in {a.host_id for a in world.held(job.id)}
    assert world.job(job.id).state is JobState.RUNNING
    assert len(hosts) == 3


def test_stop_wins_in_the_queue_while_preparing_and_while_running() -> None:
    world = World()
    world.add_host("a", hardware(cpus=1))
    world.add_host("b", hardware(cpus=1))
    running = world.submit(JobSpec(argv=("x",), nodes=2))
    queued = world.submit(JobSpec(argv=("x",), placement=ANY, nodes=5))
    world.post(StopRequested(queued.id, "ann"))
    assert world.job(queued.id).state is JobState.STOPPED
    world.post(StopRequested(running.name, "ann"))
    assert world.job(running.id).state is JobState.STOPPING
    world.start(running.id)
    ended = world.job(running.id)
    assert (ended.state, ended.reason) == (JobState.STOPPED, "stopped by ann")


def test_a_cordoned_host_gets_no_work_and_is_removed_only_when_empty() -> None:
    world = World()
    host = world.add_host("one")
    busy = world.submit(JobSpec(argv=("x",), placement=ANY))
    world.post(CordonRequested("one", cordoned=True))
    waiting = world.submit(JobSpec(argv=("x",), placement=ANY))
    assert world.held(waiting.id) == []
    with pytest.raises(Conflict, match=r"host 'one' still runs .*; have it go: coordinator host drain one"):
        world.post(RemovalRequested("one"))
    world.end(world.held(busy.id)[0].id)
    world.post(RemovalRequested("one"))
    assert host.id not in world.state.hosts
    with pytest.raises(NotFound, match="there is no host 'one'"):
        world.post(RemovalRequested("one"))


def test_the_same_request_is_the_same_job_and_a_live_name_is_taken() -> None:
    world = World()
    first = world.submit(JobSpec(argv=("x",), name="train"), request="r1")
    assert world.submit(JobSpec(argv=("x",), name="train"), request="r1").id == first.id
    with pytest.raises(Conflict, match="a job named 'train' has not ended yet"):
        world.submit(JobSpec(argv=("x",), name="train"), request="r2")


def test_a_start_that_fails_fails_the_gang_and_is_not_tried_again() -> None:
    world = World()
    world.add_host("a")
    world.add_host("b")
    job = world.submit(JobSpec(argv=("x",), nodes=2))
    world.end(world.held(job.id)[0].id, None, EndCause.START_FAILED)
    world.start(job.id)
    assert world.job(job.id).state is JobState.FAILED
    assert world.node(job.id, 1).state is NodeState.STOPPED


@pytest.mark.parametrize(
    ("asked", "shown", "fits"),
    [
        (Range(24 << 30, 24 << 30), 22.5, True),
        (Range(16 << 30, None), 15.0, True),
        (Range(80 << 30, 80 << 30), 81.6, True),
        (Range(80 << 30, 80 << 30), 40.0, False),
        (Range(24 << 30, None), 16.0, False),
        (Range(None, 40 << 30), 80.0, False),
    ],
)
def test_gpu_memory_is_what_cards_are_sold_by(asked: Range, shown: float, fits: bool) -> None:
    gpu = Gpu("GPU-0", 0, "NVIDIA L4", memory_bytes=int(shown * (1 << 30)))
    assert (gpu_mismatch(gpu, GpuRequest(memory_bytes=asked)) is None) == fits


@pytest.mark.parametrize(
    ("full", "asked", "same"),
    [
        ("NVIDIA H100 80GB HBM3", "h100", True),
        ("NVIDIA GeForce RTX 4090", "RTX4090", True),
        ("NVIDIA GeForce RTX 4090", "4090", True),
        ("NVIDIA A100-SXM4-80GB", "A100", True),
        ("NVIDIA L40S", "L4", False),
        ("NVIDIA L40S", "L40S", True),
        ("Tesla T4", "T4", True),
        ("NVIDIA A10G", "A10", False),
    ],
)
def test_gpu_names_match_by_whole_words(full: str, asked: str, same: bool) -> None:
    assert gpu_is(full, asked) == same


def test_once_the_master_is_done_nothing_that_waits_is_placed() -> None:
    world = World()
    world.add_host("a", hardware(cpus=2))
    spec = JobSpec(argv=("x",), placement=ANY, nodes=5, stop_criteria=StopCriteria.MASTER_DONE)
    job = world.submit(spec)
    world.start(job.id)
    master, worker = world.held(job.id)
    world.end(master.id)
    assert [a.id for a in world.held(job.id)] == [worker.id]
    world.obey(world.state.allocations[worker.id])
    assert (world.job(job.id).state, world.job(job.id).exit_code) == (JobState.DONE, 0)


@pytest.mark.parametrize("placement", Placement)
def test_a_users_stop_keeps_the_signal_and_the_time_that_were_asked_for(placement: Placement) -> None:
    world = World()
    world.add_host("a")
    world.add_host("b")
    job = world.submit(JobSpec(argv=("x",), nodes=2, placement=placement))
    world.start(job.id)
    world.post(StopRequested(job.id, "ann", signal="INT"))
    assert {(a.stop_signal, a.stop_grace) for a in world.held(job.id)} == {("INT", 10.0)}
    with pytest.raises(Conflict, match="is stopping already, and was sent its signal; --abort ends it at once"):
        world.post(StopRequested(job.id, "ann", signal="USR1"))
    world.post(StopRequested(job.id, "ann", signal="KILL"))
    assert {a.stop_grace for a in world.held(job.id)} == {0.0}


def test_a_gang_that_lost_a_member_is_ended_quickly_unless_the_job_asks_for_time() -> None:
    for asked, grace in ((None, 3.0), (60.0, 60.0)):
        world = World()
        world.add_host("a")
        world.add_host("b")
        job = world.submit(JobSpec(argv=("x",), nodes=2, stop_duration=asked))
        world.start(job.id)
        world.end(world.held(job.id)[0].id, 1)
        assert [a.stop_grace for a in world.held(job.id)] == [grace]


def test_a_group_that_can_not_be_is_explained_for_every_host() -> None:
    world = World(cut={("a", "b")})
    for name, net in (("a", "x"), ("b", "x"), ("c", "x"), ("d", "y")):
        world.add_host(name, facts=HostFacts(network=net))
    spec = JobSpec(argv=("x",), nodes=3)
    reasons = {offer.host.name: offer.rejection for offer in explain.offers(world.state, spec)}
    needs = "the job needs 3 hosts that all reach each other and have room now; "
    assert reasons == {
        "a": f"{needs}with c it would be 2 (not reached: a -> b at 10.0.0.2:7000: timed out)",
        "b": f"{needs}with c it would be 2 (not reached: a -> b at 10.0.0.2:7000: timed out)",
        "c": f"{needs}with a it would be 2",
        "d": f"{needs}no other one reaches it",
    }


@pytest.mark.parametrize("placement", Placement)
@pytest.mark.parametrize("nodes", [1, 2, 3, 7])
def test_the_plan_is_what_then_happens(placement: Placement, nodes: int) -> None:
    world = World()
    world.add_host("priced", hardware(cpus=1), HostFacts(price_per_hour=0.0))
    world.add_host("plain", hardware(cpus=2))
    world.add_host("dear", hardware(cpus=4), HostFacts(price_per_hour=1.0))
    spec = JobSpec(argv=("x",), nodes=nodes, placement=placement)
    planned = trial.plan(world.state, spec, "ann").nodes
    job = world.submit(spec)
    assert [(a.rank, a.host_id) for a in planned] == [(a.rank, a.host_id) for a in world.held(job.id)]


def test_a_session_that_begins_again_orders_probes_only_of_links_that_are_not_known_to_work() -> None:
    world = World(cut={("two", "one")})
    one, two, three = (world.add_host(name) for name in ("one", "two", "three"))
    world.effects.clear()
    world.open(one.id)
    ordered = [effect for effect in world.effects if isinstance(effect, ProbesWanted)]
    assert ordered == [ProbesWanted(two.id, (one.id,))], "of all links only that from two to one failed"
    world.effects.clear()
    world.restart()
    for host in (one, two, three):
        world.open(host.id)
    wanted = {(e.host_id, target) for e in world.effects if isinstance(e, ProbesWanted) for target in e.targets}
    assert len(wanted) == 6, "a coordinator that was started anew knows of no link"


def test_a_host_whose_disk_is_nearly_full_gets_nothing_until_it_has_room_again() -> None:
    world = World()
    host = world.add_host("one")
    full = replace(hardware(), disk_problem="its disk at /data has only 300 MB left, and 1.0 GB are kept free")
    running = world.submit(JobSpec(argv=("x",), placement=ANY))
    world.post(HostReported(host.id, host.epoch, hardware=full))
    waiting = world.submit(JobSpec(argv=("x",), placement=ANY))
    assert (len(world.held(running.id)), world.held(waiting.id)) == (1, [])
    said = "one: its disk at /data has only 300 MB left, and 1.0 GB are kept free; free some"
    assert said in explain.summary(world.state, world.job(waiting.id))
    world.post(HostReported(host.id, host.epoch, hardware=hardware()))
    assert len(world.held(waiting.id)) == 1
