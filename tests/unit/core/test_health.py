"""The health of GPUs: what is seen of them, what becomes of them, and of what runs there."""

from __future__ import annotations

from dataclasses import replace

import pytest

from coordinator.core import explain, fencing, health, retests, trial
from coordinator.core.effects import TestWanted as Order
from coordinator.core.errors import Conflict, Invalid, NotFound
from coordinator.core.events import BackupRestored, QuarantineRequested, ReleaseRequested
from coordinator.core.events import TestRequested as AskedForTest
from coordinator.core.evidence import Condition, Evidence, Sign
from coordinator.core.health_marks import standing
from coordinator.core.health_records import Health
from coordinator.core.ids import HostId
from coordinator.core.model import EndCause, NodeState, Phase
from coordinator.core.spec import GpuRequest, JobSpec, Placement, Range, Resources
from tests.fakes.gpu_fleet import Fleet, watched
from tests.fakes.world import hardware

ONE_GPU = Resources(gpu=GpuRequest(count=Range(1, 1)))
ANY = JobSpec(argv=("x",), placement=Placement.ANY, resources=ONE_GPU, stop_duration=20.0)


def test_a_gpu_that_needs_a_reset_is_fenced_alone_and_what_ran_there_is_killed_and_goes_elsewhere() -> None:
    fleet = Fleet()
    host = fleet.add("a")
    job = fleet.world.submit(replace(ANY, nodes=2))
    fleet.run()
    (bad,) = fleet.runs_on("a-0")

    fleet.sees(host, "a-0", Sign.XID, 95, bad.id)

    assert (fleet.state(host, "a-0"), fleet.state(host, "a-1")) == (Health.DRAINING, Health.HEALTHY)
    (going,) = fleet.runs_on("a-0")
    assert (going.wanted, going.stop_grace) == (Phase.STOPPING, 0.0)
    assert "XID 95, Uncontained memory error (NVIDIA asks for a reset of the GPU)" in going.stop_reason
    other = next(held for held in fleet.runs_on("a-1"))
    assert other.wanted is Phase.RUNNING
    fleet.gone()
    assert fleet.state(host, "a-0") is Health.QUARANTINED
    assert fleet.runs_on("a-0") == []
    node = fleet.world.node(job.id, bad.rank)
    assert (node.state, node.errors, node.host_failures) == (NodeState.PENDING, 0, 0)
    told = explain.summary(fleet.world.state, fleet.world.job(job.id))
    assert "GPU 0 is quarantined: XID 95, Uncontained memory error" in told
    fleet.world.end(other.id)
    (again,) = fleet.world.held(job.id)
    assert again.gpus == ("a-1",)


def test_a_fault_of_bus_or_driver_fences_the_whole_host() -> None:
    fleet = Fleet()
    host = fleet.add("a")
    fleet.sees(host, "a-1", Sign.XID, 79)
    assert (fleet.state(host, ""), fleet.state(host, "a-1")) == (Health.QUARANTINED, Health.HEALTHY)
    assert "on a-1" in fleet.of(host, "").evidence
    job = fleet.world.submit(replace(ANY, resources=Resources()))
    assert fleet.world.held(job.id) == []
    assert "its GPU driver or bus is quarantined: XID 79, GPU has fallen off the bus" in explain.summary(
        fleet.world.state, job
    )


def test_what_a_program_may_have_done_counts_only_over_several_jobs_and_users() -> None:
    fleet = Fleet()
    host = fleet.add("a", gpus=1)
    states = []
    for user in ("ann", "ann", "bob"):
        job = fleet.world.submit(ANY, user=user)
        fleet.run()
        (held,) = fleet.world.held(job.id)
        for _ in range(3):
            fleet.sees(host, "a-0", Sign.XID, 31, held.id)
        states.append(fleet.state(host, "a-0"))
        fleet.world.end(held.id, 1)
    assert states == [Health.HEALTHY, Health.SUSPECT, Health.DRAINING]
    assert fleet.state(host, "a-0") is Health.QUARANTINED
    # The program's own end stays its own: nothing says that the GPU did it.
    assert fleet.world.node(job.id, 0).cause is EndCause.EXIT


def test_what_is_also_told_of_programs_that_are_stopped_never_fences() -> None:
    fleet = Fleet()
    host = fleet.add("a", gpus=1)
    for number in range(health.FENCE_JOBS_OF_ONE + 1):
        job = fleet.world.submit(ANY, user=f"user{number}")
        fleet.run()
        (held,) = fleet.world.held(job.id)
        fleet.sees(host, "a-0", Sign.XID, 45, held.id)
        fleet.world.end(held.id)
    assert fleet.state(host, "a-0") is Health.SUSPECT
    other = Fleet()
    host = other.add("a", gpus=1)
    for number in range(3):
        other.sees(host, "a-0", Sign.XID, 45, f"j-{number}.0.1")
    assert other.state(host, "a-0") is Health.HEALTHY


def test_what_never_fences_by_itself_does_not_help_other_signs_to() -> None:
    fleet = Fleet()
    host = fleet.add("a", gpus=1)
    for user, code in (("ann", 45), ("bob", 43), ("cid", 31)):
        job = fleet.world.submit(ANY, user=user)
        fleet.run()
        (held,) = fleet.world.held(job.id)
        fleet.sees(host, "a-0", Sign.XID, code, held.id)
        fleet.world.end(held.id, 1)
    assert fleet.state(host, "a-0") is Health.SUSPECT


def test_one_jobs_contained_errors_and_its_own_faults_are_not_those_of_several() -> None:
    fleet = Fleet()
    host = fleet.add("a", gpus=1)
    job = fleet.world.submit(ANY, user="ann")
    fleet.run()
    (held,) = fleet.world.held(job.id)
    for code in (92, 94):
        fleet.sees(host, "a-0", Sign.XID, code, held.id)
    fleet.sees(host, "a-0", Sign.XID, 94, f"{job.id}.0.9")  # Comes again: fenced for that, and for that alone.
    assert fleet.of(host, "a-0").reason.startswith("XID 94")
    fleet.world.post(ReleaseRequested("a"))
    fleet.sees(host, "a-0", Sign.XID, 92, held.id)
    fleet.sees(host, "a-0", Sign.NVLINK_ERRORS, 1, f"{job.id}.0.9")
    fleet.sees(host, "a-0", Sign.XID, 31, held.id)
    assert fleet.state(host, "a-0") is Health.SUSPECT


def test_an_end_by_a_gpus_fault_is_the_hosts_and_the_node_is_tried_elsewhere() -> None:
    fleet = Fleet()
    host, other = fleet.add("a", gpus=1), fleet.add("b", gpus=1)
    job = fleet.world.submit(ANY)
    fleet.run()
    (held,) = fleet.world.held(job.id)
    first, second = (host, other) if held.host_id == host else (other, host)
    # Contained: the GPU stays in service, but the program that met it is lost by no fault of its own.
    fleet.sees(first, held.gpus[0], Sign.XID, 94, held.id)
    assert fleet.state(first, held.gpus[0]) is Health.SUSPECT
    fleet.world.end(held.id, 1)
    node = fleet.world.node(job.id, 0)
    assert (node.attempt, node.host_failures, node.errors) == (2, 1, 0)
    assert "GPU fault: XID 94, Contained memory error; exit code 1" in node.reason
    (again,) = fleet.world.held(job.id)
    assert again.host_id == second
    fleet.world.advance(health.BLAME + 10)
    fleet.run()
    fleet.world.end(again.id, 1)
    assert fleet.world.node(job.id, 0).cause is EndCause.EXIT


def test_what_comes_again_is_fenced_but_not_twice_in_one_incident() -> None:
    fleet = Fleet()
    host = fleet.add("a")
    for _ in range(3):
        fleet.sees(host, "a-0", Sign.XID, 94, "j-1.0.1")
    assert fleet.state(host, "a-0") is Health.SUSPECT
    fleet.world.advance(health.INCIDENT + 5)
    fleet.sees(host, "a-0", Sign.XID, 94, "j-1.0.1")
    assert fleet.state(host, "a-0") is Health.QUARANTINED


def test_what_is_told_late_counts_by_when_it_was() -> None:
    """The host was out of contact for hours."""
    fleet = Fleet()
    host = fleet.add("a")

    def incidents(gpu: str, *ago: float) -> Health:
        numbers = (next(fleet.numbers) for _ in ago)
        fleet.says(
            host, *(Evidence(gpu, Sign.XID, 94, "", at, "j-1.0.1", n) for at, n in zip(ago, numbers, strict=True))
        )
        return fleet.state(host, gpu)

    assert incidents("a-0", 7230.0, 7200.0) is Health.SUSPECT
    assert incidents("a-1", 7200.0, 0.0) is Health.QUARANTINED


def test_a_gpu_with_a_fault_that_spares_what_runs_keeps_it_to_its_end_and_gets_nothing_new() -> None:
    fleet = Fleet()
    host = fleet.add("a", gpus=1)
    job = fleet.world.submit(ANY)
    fleet.run()
    fleet.holds(host, "a-0", Condition(Sign.REMAP_FAILED))
    (held,) = fleet.world.held(job.id)
    assert (fleet.state(host, "a-0"), held.wanted) == (Health.DRAINING, Phase.RUNNING)
    waiting = fleet.world.submit(replace(ANY, name="next"))
    fleet.world.end(held.id)
    assert fleet.state(host, "a-0") is Health.QUARANTINED
    assert fleet.world.held(waiting.id) == []


def test_a_gang_leaves_a_gpu_that_is_fenced_and_is_formed_again_around_it() -> None:
    fleet = Fleet()
    names = {fleet.add(name, gpus=1): name for name in ("a", "b", "c")}
    job = fleet.world.submit(replace(ANY, placement=Placement.CLUSTER, nodes=2))
    fleet.run()
    first, second = fleet.world.held(job.id)
    fleet.sees(first.host_id, first.gpus[0], Sign.XID, 74)
    assert all(held.wanted is Phase.STOPPING for held in fleet.world.held(job.id))
    fleet.gone()
    hosts = {held.host_id for held in fleet.world.held(job.id)}
    assert hosts == set(names) - {first.host_id}
    assert second.host_id in hosts
    assert fleet.world.job(job.id).host_failures == 0


def test_an_unknown_xid_makes_a_suspect_and_half_an_hour_of_quiet_a_healthy_gpu() -> None:
    fleet = Fleet()
    host = fleet.add("a")
    fleet.sees(host, "a-0", Sign.XID, 9999)
    assert fleet.state(host, "a-0") is Health.SUSPECT
    assert "XID 9999, which NVIDIA's catalogue of this release does not have" in fleet.of(host, "a-0").reason
    job = fleet.world.submit(replace(ANY, nodes=2))
    assert len(fleet.world.held(job.id)) == 2
    fleet.world.advance(health.QUIET - 10)
    assert fleet.state(host, "a-0") is Health.SUSPECT
    fleet.world.advance(20)
    assert fleet.state(host, "a-0") is Health.HEALTHY


def test_a_suspect_stays_one_while_what_made_it_one_holds() -> None:
    fleet = Fleet()
    host = fleet.add("a")
    fleet.holds(host, "a-0", Condition(Sign.THERMAL_SLOWDOWN, detail="at 91 °C"))
    fleet.world.advance(2 * health.QUIET)
    assert fleet.state(host, "a-0") is Health.SUSPECT
    fleet.holds(host, "a-0")
    fleet.world.advance(health.QUIET + 10)
    assert fleet.state(host, "a-0") is Health.HEALTHY


def test_a_trial_knows_what_is_out_of_service() -> None:
    fleet = Fleet()
    host = fleet.add("a")
    fleet.sees(host, "a-0", Sign.XID, 48)
    found = trial.plan(fleet.world.state, replace(ANY, nodes=2), "ann")
    assert [held.gpus for held in found.nodes] == [("a-1",)]
    assert fleet.state(host, "a-0") is Health.QUARANTINED


def test_the_same_evidence_again_changes_nothing() -> None:
    fleet = Fleet()
    host = fleet.add("a")
    seen = [fleet.sees(host, "a-0", Sign.XID, 94), fleet.sees(host, "a-1", Sign.XID, 48)]
    before = (fleet.world.state.health[host], list(fleet.world.state.events))
    fleet.world.advance(health.INCIDENT + 5)
    fleet.says(host, *seen)
    fleet.holds(host, "a-0")
    assert (fleet.world.state.health[host], list(fleet.world.state.events)) == before


def quarantined(fleet: Fleet) -> HostId:
    host = fleet.add("a")
    fleet.sees(host, "a-0", Sign.XID, 119)
    assert fleet.state(host, "a-0") is Health.QUARANTINED
    return host


def test_after_a_rest_it_is_tested_and_in_service_again_when_it_passes() -> None:
    fleet = Fleet()
    host = quarantined(fleet)
    fleet.world.advance(retests.FIRST_REST + 10)
    assert fleet.orders() == [Order(host, ("a-0",), 1)]
    assert fleet.state(host, "a-0") is Health.TESTING
    fleet.sees(host, "a-0", Sign.TEST_PASSED, 7)
    assert fleet.state(host, "a-0") is Health.TESTING  # Another test's answer.
    fleet.sees(host, "a-0", Sign.TEST_PASSED, 1)
    assert fleet.state(host, "a-0") is Health.HEALTHY
    assert len(fleet.world.held(fleet.world.submit(replace(ANY, nodes=2)).id)) == 2


def test_each_failed_test_makes_the_next_rest_twice_as_long() -> None:
    fleet = Fleet()
    host = quarantined(fleet)
    for number, rest in enumerate((600.0, 1200.0, 2400.0), start=1):
        fleet.world.advance(rest - 10)
        assert fleet.state(host, "a-0") is Health.QUARANTINED
        fleet.world.advance(20)
        assert fleet.of(host, "a-0").test == number
        fleet.sees(host, "a-0", Sign.TEST_FAILED, number)
        assert "failed: as seen" in fleet.of(host, "a-0").reason
    assert retests.rest(100) == retests.LONGEST_REST


def test_a_test_waits_until_what_it_is_quarantined_for_is_gone() -> None:
    fleet = Fleet()
    host = fleet.add("a")
    fleet.holds(host, "a-0", Condition(Sign.MEMORY_HELD, 1 << 30))
    assert fleet.state(host, "a-0") is Health.QUARANTINED
    fleet.world.advance(3 * retests.FIRST_REST)
    assert fleet.orders() == []
    fleet.holds(host, "a-0")
    fleet.world.advance(retests.SETTLED + 5)
    assert fleet.orders() == [Order(host, ("a-0",), 1)]


def test_an_order_is_sent_again_with_each_session_and_a_test_without_an_answer_ends() -> None:
    fleet = Fleet()
    host = quarantined(fleet)
    fleet.world.advance(retests.FIRST_REST + 10)
    fleet.world.open(host)
    assert retests.orders(fleet.world.state, host) == fleet.orders() == [Order(host, ("a-0",), 1)]
    fleet.world.advance(retests.LONGEST + 10)
    assert fleet.state(host, "a-0") is Health.QUARANTINED
    assert fleet.of(host, "a-0").reason == "test 1 was not answered within 15 minutes"


def test_a_machine_that_was_started_anew_has_its_gpus_tested_at_once() -> None:
    fleet = Fleet()
    host = quarantined(fleet)
    known = fleet.host(host).hardware
    assert known is not None
    fleet.world.open(host, replace(known, boot_id="second"))
    fleet.world.advance(5)
    assert fleet.orders() == []  # The boot before was not known.
    fleet.world.open(host, replace(known, boot_id="third"))
    fleet.world.advance(retests.SETTLED)
    assert fleet.orders() == [Order(host, ("a-0",), 1)]


def test_a_host_is_in_service_again_when_all_its_gpus_pass() -> None:
    fleet = Fleet()
    host = fleet.add("a")
    fleet.holds(host, "", Condition(Sign.DRIVER, detail="NVML says: driver not loaded"))
    assert fleet.state(host, "") is Health.QUARANTINED
    fleet.holds(host, "")
    fleet.world.advance(retests.FIRST_REST + 10)
    assert fleet.orders() == [Order(host, ("a-0", "a-1"), 1)]
    fleet.sees(host, "a-0", Sign.TEST_PASSED, 1)
    assert fleet.state(host, "") is Health.TESTING
    fleet.sees(host, "a-1", Sign.TEST_PASSED, 1)
    assert (fleet.state(host, ""), fleet.host(host).fenced) == (Health.HEALTHY, "")


def test_the_breaker_keeps_all_but_a_few_hosts_in_service_and_lets_others_go_when_its_hour_is_over() -> None:
    fleet = Fleet()
    hosts = [fleet.add(f"h{number}") for number in range(5)]
    for host in hosts[:4]:
        gpu = fleet.host(host).name + "-0"
        fleet.sees(host, gpu, Sign.XID, 48)
        fleet.sees(host, gpu.replace("-0", "-1"), Sign.XID, 48)
    states = [fleet.state(host, fleet.host(host).name + "-0") for host in hosts]
    assert states == [Health.QUARANTINED] * 2 + [Health.SUSPECT] * 2 + [Health.HEALTHY]
    assert "not fenced by the breaker: 2 hosts were fenced within an hour" in fleet.of(hosts[2], "h2-0").reason
    assert [event.host for event in fleet.world.state.events if event.kind == "breaker"] == ["h2", "h2", "h3", "h3"]
    fleet.holds(hosts[2], "h2-0", Condition(Sign.REMAP_FAILED))
    # The window is over before the evidence is old enough to be forgotten only where something holds.
    fleet.world.advance(fencing.WINDOW + 10)
    assert fleet.state(hosts[2], "h2-0") is not Health.SUSPECT
    assert fleet.state(hosts[3], "h3-0") is Health.HEALTHY


@pytest.mark.parametrize(("hosts", "most"), [(1, 1), (2, 2), (11, 2), (15, 3)])
def test_the_breaker_lets_two_hosts_go_or_a_fifth_of_them_in_any_hour(hosts: int, most: int) -> None:
    fleet = Fleet()
    names = [f"h{number}" for number in range(hosts)]
    ids = {name: fleet.add(name, gpus=1) for name in names}

    def out() -> list[str]:
        return [name for name in names if fleet.host(ids[name]).hardware.gpus[0].fenced]  # type: ignore[union-attr]

    for name in names:
        fleet.holds(ids[name], f"{name}-0", Condition(Sign.REMAP_FAILED))
    assert out() == names[:most]
    # A restart forgets neither what is fenced, nor since when.
    fleet.world.restart()
    for host in ids.values():
        fleet.world.open(host)
    fleet.world.advance(fencing.WINDOW / 2)
    assert out() == names[:most]
    fleet.world.advance(fencing.WINDOW / 2 + 10)
    assert len(out()) == min(hosts, 2 * most)


@pytest.mark.parametrize("before", [Health.HEALTHY, Health.SUSPECT])
def test_failed_tests_of_gpus_in_service_are_bounded_by_the_breaker_too(before: Health) -> None:
    fleet = Fleet()
    hosts = {name: fleet.add(name, gpus=1) for name in map("h{}".format, range(10))}
    for name, host in hosts.items():
        if before is Health.SUSPECT:
            fleet.sees(host, f"{name}-0", Sign.XID, 9999)
        assert fleet.state(host, f"{name}-0") is before
        fleet.world.post(AskedForTest(name))
        fleet.sees(host, f"{name}-0", Sign.TEST_FAILED, 1)
    states = [fleet.state(host, f"{name}-0") for name, host in hosts.items()]
    assert states == [Health.QUARANTINED] * 2 + [Health.SUSPECT] * 8
    assert "test 1 failed: as seen; not fenced by the breaker" in fleet.of(hosts["h2"], "h2-0").reason
    assert [event.host for event in fleet.world.state.events if event.kind == "breaker"] == list(hosts)[2:]
    # One that was held back and passes is as if nothing had been.
    fleet.world.post(AskedForTest("h2"))
    fleet.sees(hosts["h2"], "h2-0", Sign.TEST_PASSED, 2)
    assert (fleet.state(hosts["h2"], "h2-0"), fleet.of(hosts["h2"], "h2-0").held_back) == (Health.HEALTHY, 0)
    # Those that came from quarantine are no news to the breaker: they go back.
    fleet.world.advance(retests.FIRST_REST + 10)
    fleet.sees(hosts["h0"], "h0-0", Sign.TEST_FAILED, 2)
    assert (fleet.state(hosts["h0"], "h0-0"), fleet.of(hosts["h0"], "h0-0").failures) == (Health.QUARANTINED, 2)


def test_a_fault_during_a_test_of_a_healthy_gpu_is_bounded_by_the_breaker() -> None:
    fleet = Fleet()
    states = []
    for name in ("a", "b", "c"):
        host = fleet.add(name, gpus=1)
        fleet.world.post(AskedForTest(name))
        fleet.sees(host, f"{name}-0", Sign.XID, 48)
        states.append(fleet.state(host, f"{name}-0"))
    assert states == [Health.QUARANTINED, Health.QUARANTINED, Health.SUSPECT]


def test_a_user_quarantines_and_releases_and_no_test_does_it_instead() -> None:
    fleet = Fleet()
    host = fleet.add("a")
    job = fleet.world.submit(ANY)
    fleet.run()
    (held,) = fleet.world.held(job.id)
    with pytest.raises(NotFound, match="has no GPU '7'"):
        fleet.world.post(QuarantineRequested("a", "7", "loud fan", "ann"))
    with pytest.raises(Invalid, match="--reason"):
        fleet.world.post(QuarantineRequested("a", "0", " ", "ann"))
    fleet.world.post(QuarantineRequested("a", "0", "loud fan", "ann"))
    (going,) = fleet.runs_on("a-0")
    assert (going.id, going.stop_grace) == (held.id, 20.0)
    fleet.gone()
    assert fleet.of(host, "a-0").reason == "loud fan (quarantined by ann)"
    (again,) = fleet.world.held(job.id)
    assert again.gpus == ("a-1",)
    fleet.world.advance(retests.LONGEST_REST)
    assert fleet.orders() == []
    fleet.world.post(AskedForTest("a", "a-0"))
    fleet.sees(host, "a-0", Sign.TEST_PASSED, 1)
    assert fleet.state(host, "a-0") is Health.QUARANTINED
    fleet.world.post(ReleaseRequested("a", "0", "ann"))
    assert fleet.state(host, "a-0") is Health.HEALTHY
    with pytest.raises(Conflict, match="not out of service"):
        fleet.world.post(ReleaseRequested("a"))


def test_what_a_user_vouched_for_does_not_count_again_while_it_holds() -> None:
    fleet = Fleet()
    host = fleet.add("a")
    failed = Condition(Sign.REMAP_FAILED)
    fleet.holds(host, "a-0", failed)
    fleet.world.post(ReleaseRequested("a", user="ann"))
    fleet.holds(host, "a-0", failed)
    assert fleet.state(host, "a-0") is Health.HEALTHY
    fleet.holds(host, "a-0")
    fleet.holds(host, "a-0", failed)
    assert fleet.state(host, "a-0") is Health.QUARANTINED


def test_a_test_that_passes_does_not_fence_what_a_user_vouched_for() -> None:
    fleet = Fleet()
    host = fleet.add("a")
    fleet.holds(host, "a-0", Condition(Sign.REMAP_FAILED))
    fleet.world.post(ReleaseRequested("a", user="ann"))
    fleet.world.post(AskedForTest("a", "0"))
    fleet.sees(host, "a-0", Sign.TEST_PASSED, 1)
    assert fleet.state(host, "a-0") is Health.HEALTHY


def test_a_gpu_that_passes_its_test_is_not_healthy_while_something_holds() -> None:
    fleet = Fleet()
    host = quarantined(fleet)
    fleet.holds(host, "a-0", Condition(Sign.THERMAL_SLOWDOWN, detail="at 91 °C"))
    fleet.world.advance(retests.FIRST_REST + 10)
    fleet.sees(host, "a-0", Sign.TEST_PASSED, 1)
    assert fleet.state(host, "a-0") is Health.SUSPECT
    assert "slowed down by its temperature" in fleet.of(host, "a-0").reason
    fleet.world.advance(2 * health.QUIET)
    assert fleet.state(host, "a-0") is Health.SUSPECT
    fleet.holds(host, "a-0")
    fleet.world.advance(health.QUIET + 10)
    assert fleet.state(host, "a-0") is Health.HEALTHY
    # The same when it begins during the test of one that was healthy.
    fleet.world.post(AskedForTest("a", "0"))
    fleet.holds(host, "a-0", Condition(Sign.THERMAL_SLOWDOWN))
    fleet.sees(host, "a-0", Sign.TEST_PASSED, 2)
    assert fleet.state(host, "a-0") is Health.SUSPECT


def test_a_test_on_request_takes_the_gpus_that_nothing_holds_and_says_why_it_takes_none() -> None:
    fleet = Fleet()
    host = fleet.add("a")
    fleet.world.submit(ANY)
    fleet.run()
    (busy,) = fleet.world.held()
    fleet.world.post(AskedForTest("a"))
    idle = {"a-0": "a-1", "a-1": "a-0"}[busy.gpus[0]]
    assert fleet.orders() == [Order(host, (idle,), 1)]
    with pytest.raises(Conflict, match="is in use, and a test needs it alone"):
        fleet.world.post(AskedForTest("a", busy.gpus[0]))
    fleet.world.advance(retests.LONGEST + 10)
    assert fleet.state(host, idle) is Health.HEALTHY  # Nothing was held against it before.
    fleet.world.add_host("old", hardware(4, 1, prefix="old"))
    with pytest.raises(Conflict, match="does not look after GPUs"):
        fleet.world.post(AskedForTest("old"))


def test_mig_instances_share_their_cards_health() -> None:
    fleet = Fleet()
    plain = watched(2, "a")
    parts = tuple(replace(gpu, uuid=f"MIG-{gpu.index}", parent="card") for gpu in plain.gpus)
    host = fleet.world.add_host("a", replace(plain, gpus=parts)).id
    job = fleet.world.submit(ANY)
    fleet.run()
    (held,) = fleet.world.held(job.id)
    fleet.sees(host, "MIG-1", Sign.XID, 140)
    assert fleet.state(host, "card") is Health.DRAINING
    fleet.gone()
    assert fleet.state(host, "card") is Health.QUARANTINED
    assert held.gpus == ("MIG-0",)
    assert [held.gpus for held in fleet.world.held(job.id)] == []


def test_nobody_looks_is_not_healthy() -> None:
    fleet = Fleet()
    old = fleet.world.add_host("old", hardware(4, 1, prefix="old")).id
    new = fleet.add("new", gpus=1)

    def shown(host: HostId) -> Health:
        known = fleet.host(host)
        assert known.hardware is not None
        return standing(known, fleet.world.state.health.get(host), known.hardware.gpus[0]).state

    assert (shown(old), shown(new)) == (Health.UNKNOWN, Health.HEALTHY)
    fleet.world.asleep.add(new)
    fleet.world.advance(120)
    assert shown(new) is Health.UNKNOWN


def test_all_of_it_outlives_a_restart() -> None:
    fleet = Fleet()
    host = quarantined(fleet)
    fleet.sees(host, "a-1", Sign.XID, 94, "j-1.0.1")
    before = (fleet.world.state.health, list(fleet.world.state.events))
    fleet.world.restart()
    assert (fleet.world.state.health, list(fleet.world.state.events)) == before
    assert "is quarantined" in fleet.host(host).hardware.gpus[0].fenced  # type: ignore[union-attr]
    fleet.world.open(host)
    fleet.world.advance(retests.FIRST_REST + 15)
    assert fleet.orders() == [Order(host, ("a-0",), 1)]


def test_what_is_out_of_service_is_so_in_a_backup_too() -> None:
    fleet = Fleet()
    host = quarantined(fleet)
    fleet.world.post(QuarantineRequested("a", "1", "loud fan", "ann"))
    before = fleet.world.state.health
    fleet.world.restart()
    fleet.world.post(BackupRestored(86400.0))
    fleet.world.open(host)
    assert fleet.world.state.health == before
    fleet.world.advance(fleet.world.state.timing.lost + 1)
    assert fleet.world.held(fleet.world.submit(ANY).id) == []


def test_each_change_is_told_with_its_reason_and_evidence() -> None:
    fleet = Fleet()
    host = quarantined(fleet)
    told = [(e.kind, e.text, e.evidence) for e in fleet.world.state.events if e.gpu == "a-0"]
    reason = "XID 119, GSP RPC Timeout (NVIDIA asks for a reset of the GPU)"
    evidence = "XID 119, GSP RPC Timeout: as seen"
    assert told == [
        ("health", f"GPU 0 (a-0): healthy -> draining: {reason}", evidence),
        ("health", f"GPU 0 (a-0): draining -> quarantined: {reason}", evidence),
    ]
    assert fleet.world.state.events[0].text == "joined from backend local, region local"
    assert [event.number for event in fleet.world.state.events] == [1, 2, 3]
    assert fleet.of(host, "a-0").evidence == evidence
