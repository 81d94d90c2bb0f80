"""Rolling upgrades in the core: who is told when, what ends a roll-out, and that a restart loses nothing."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coordinator.core import upgrades
from coordinator.core.effects import UpgradeWanted
from coordinator.core.errors import Conflict, Invalid, NotFound
from coordinator.core.events import HostReported, RemovalRequested, UpgradeCancelRequested, UpgradeProgress
from coordinator.core.events import UpgradeRequested as Asked
from coordinator.core.ids import HostId
from coordinator.core.rollout import BUSY, FAILURES, Release, Rollout, RolloutState, Step
from tests.fakes.world import World

NEW = Release("0.2.0", "0.2.0-bbbbbbbb", "bb" * 32, 1000)
OLD = "0.1.0-aaaaaaaa"


def world_of(names: Sequence[str]) -> tuple[World, dict[str, HostId]]:
    """Hosts in contact whose agents were installed from an older wheel."""
    world = World()
    hosts = {name: world.add_host(name).id for name in names}
    for host in hosts.values():
        world.open(host, build=OLD)
    world.effects.clear()
    return world, hosts


def told(world: World) -> list[str]:
    """The hosts that were told since this was last asked, by name."""
    orders = [world.state.hosts[e.host_id].name for e in world.effects if isinstance(e, UpgradeWanted)]
    world.effects.clear()
    return orders


def say(world: World, host: HostId, step: Step, reason: str = "", number: int = 1) -> None:
    """The host's agent reports."""
    epoch = world.state.hosts[host].epoch
    world.post(HostReported(host, epoch, upgrade=UpgradeProgress(number, step, reason)))


def steps(world: World) -> dict[str, str]:
    return {world.state.hosts[u.host_id].name: u.step.value for u in world.state.rollouts.all()}


def last(world: World) -> Rollout:
    return upgrades.last_rollout(world.state)


def test_the_next_batch_begins_when_the_one_before_is_done() -> None:
    world, hosts = world_of("abcde")
    world.post(Asked(NEW, "ada", everything=True, batch=2))
    assert told(world) == ["a", "b"]
    for step in (Step.INSTALLING, Step.RESTARTING, Step.DONE):
        say(world, hosts["a"], step)
    assert told(world) == []
    say(world, hosts["b"], Step.DONE)
    assert told(world) == ["c", "d"]
    assert steps(world) == {"a": "done", "b": "done", "c": "ordered", "d": "ordered", "e": "waiting"}
    for name in "cde":
        say(world, hosts[name], Step.DONE)
    assert last(world).state is RolloutState.DONE
    assert set(steps(world).values()) == {"done"}


@pytest.mark.parametrize(("hosts", "percent", "batch"), [(5, 10.0, 1), (40, 10.0, 4), (45, 10.0, 4), (3, 100.0, 3)])
def test_a_part_of_the_hosts_is_at_least_one(hosts: int, percent: float, batch: int) -> None:
    world, _ = world_of([f"n{i}" for i in range(hosts)])
    assert world.post(Asked(NEW, "ada", everything=True, percent=percent)).batch == batch
    assert len(told(world)) == batch


def test_the_first_failure_leaves_the_others_alone() -> None:
    world, hosts = world_of("abcd")
    world.post(Asked(NEW, "ada", everything=True, batch=2))
    say(world, hosts["a"], Step.ROLLED_BACK, "it can't start: boom")
    assert last(world).state is RolloutState.RUNNING, "b is still at it"
    say(world, hosts["b"], Step.DONE)
    assert last(world).state is RolloutState.STOPPED
    assert last(world).reason == "1 failed (a) and none may: 2 left as they are"
    assert steps(world) == {"a": "rolled-back", "b": "done", "c": "waiting", "d": "waiting"}
    assert told(world) == ["a", "b"]


def test_as_many_may_fail_as_is_allowed() -> None:
    world, hosts = world_of("abc")
    world.post(Asked(NEW, "ada", everything=True, batch=1, max_failures=1))
    say(world, hosts["a"], Step.FAILED, "no space left on device")
    say(world, hosts["b"], Step.DONE)
    say(world, hosts["c"], Step.DONE)
    assert last(world).state is RolloutState.DONE


def test_a_host_that_falls_silent_has_failed_when_its_time_is_over() -> None:
    world, hosts = world_of("ab")
    world.post(Asked(NEW, "ada", ("a",), install_seconds=100.0))
    say(world, hosts["a"], Step.INSTALLING)
    whole = 100.0 + upgrades.TRIAL_SECONDS + upgrades.RETURN_SECONDS
    world.asleep.add(hosts["a"])
    world.advance(whole - 1.0)
    assert steps(world) == {"a": "installing"}
    world.advance(2.0)
    assert steps(world) == {"a": "failed"}
    assert "it was installing when last heard of" in world.state.rollouts.all()[0].reason
    assert last(world).state is RolloutState.STOPPED
    # Late is better than never.
    world.open(hosts["a"], build=NEW.build)
    say(world, hosts["a"], Step.DONE)
    assert steps(world) == {"a": "done"}


def test_hosts_that_cannot_be_upgraded_are_left_out_and_say_why() -> None:
    world, hosts = world_of(["away", "new", "checkout", "old"])
    world.open(hosts["new"], build=NEW.build)
    world.open(hosts["checkout"], build="")
    world.asleep.add(hosts["away"])
    world.advance(60.0)
    world.effects.clear()
    world.post(Asked(NEW, "ada", everything=True, batch=1))
    assert told(world) == ["old"]
    assert steps(world) == {"away": "skipped", "new": "done", "checkout": "skipped", "old": "ordered"}
    reasons = {world.state.hosts[u.host_id].name: u.reason for u in world.state.rollouts.all()}
    assert reasons["new"] == "runs it already"
    assert "was not in contact" in reasons["away"]
    assert "was not installed by the installer" in reasons["checkout"]
    say(world, hosts["old"], Step.DONE)
    assert last(world).state is RolloutState.DONE


def test_one_installed_by_hand_is_not_outdated_where_its_release_is_the_same() -> None:
    world, hosts = world_of(["checkout"])
    release = Release(world.open(hosts["checkout"], build="").agent_version, "test-bbbbbbbb", "bb" * 32, 1000)
    world.post(Asked(release, "ada", everything=True))
    assert (steps(world), last(world).state) == ({"checkout": "done"}, RolloutState.DONE)


def test_the_end_of_an_upgrade_is_noted_for_the_hosts_owner() -> None:
    world, hosts = world_of("ab")
    world.post(Asked(NEW, "ada", everything=True, batch=2))
    say(world, hosts["a"], Step.DONE)
    say(world, hosts["b"], Step.ROLLED_BACK, "it can't start: boom")
    change = f"{OLD} -> {NEW.build}"
    noted = [(e.host, e.kind, e.text) for e in world.state.events if e.kind != "joined"]
    assert noted == [("a", "upgraded", change), ("b", "rolled-back", f"upgrade {change}: it can't start: boom")]


def test_what_cannot_be_asked_is_refused_with_the_way_out() -> None:
    world, hosts = world_of("ab")
    with pytest.raises(NotFound, match="'coordinator host upgrade --all' upgrades all"):
        upgrades.last_rollout(world.state)
    with pytest.raises(NotFound, match="no host 'c'"):
        world.post(Asked(NEW, "ada", ("c",)))
    with pytest.raises(Invalid, match="or all of them with --all"):
        world.post(Asked(NEW, "ada"))
    with pytest.raises(Invalid, match="or all of them with --all"):
        world.post(Asked(NEW, "ada", ("a",), everything=True))
    world.post(Asked(NEW, "ada", everything=True, batch=1))
    with pytest.raises(Conflict, match=r"under way since ada began it.*--cancel"):
        world.post(Asked(NEW, "bob", ("a",)))
    cancelled = world.post(UpgradeCancelRequested("bob"))
    assert (cancelled.state, cancelled.reason) == (RolloutState.CANCELLED, "cancelled by bob")
    with pytest.raises(Conflict, match="a still at the last upgrade"):
        world.post(Asked(NEW, "bob", ("b",)))
    with pytest.raises(Conflict, match="it is cancelled"):
        world.post(UpgradeCancelRequested("bob"))
    say(world, hosts["a"], Step.DONE)
    assert world.post(Asked(NEW, "bob", ("b",))).number == 2
    # What a host says of an earlier roll-out changes nothing.
    say(world, hosts["b"], Step.FAILED, "late", number=1)
    assert steps(world) == {"b": "ordered"}


def test_a_host_that_calls_again_is_told_again_until_it_has_said_how_it_ended() -> None:
    world, hosts = world_of("a")
    world.post(Asked(NEW, "ada", ("a",), install_seconds=100.0))
    world.advance(30.0)
    order = upgrades.order_for(world.state, hosts["a"])
    assert order is not None
    assert order.seconds == pytest.approx(70.0)
    say(world, hosts["a"], Step.DONE)
    assert upgrades.order_for(world.state, hosts["a"]) is None


def test_a_host_that_is_removed_meanwhile_is_not_waited_for() -> None:
    world, _hosts = world_of("ab")
    world.post(Asked(NEW, "ada", everything=True, batch=1))
    world.post(RemovalRequested("a"))
    assert steps(world) == {"b": "ordered"}


@settings(deadline=None)
@given(st.data())
def test_whatever_happens_no_more_than_a_batch_is_at_it_and_it_comes_to_an_end(data: st.DataObject) -> None:
    names = [f"n{i}" for i in range(data.draw(st.integers(1, 6)))]
    world, hosts = world_of(names)
    batch, failures = data.draw(st.integers(1, 3)), data.draw(st.integers(0, 2))
    world.post(Asked(NEW, "ada", everything=True, batch=batch, max_failures=failures, install_seconds=30.0))
    for _ in range(data.draw(st.integers(0, 25))):
        move = data.draw(st.sampled_from(["say", "say", "say", "time", "restart", "away", "back"]))
        host = hosts[data.draw(st.sampled_from(names))]
        if move == "say" and world.state.hosts[host].epoch:
            known = world.state.rollouts.of(host)
            assert known is not None
            if known.step in BUSY:
                say(world, host, data.draw(st.sampled_from([*BUSY[1:], Step.DONE, *FAILURES])))
        elif move == "time":
            world.advance(data.draw(st.floats(1.0, 60.0)))
        elif move == "restart":
            before = steps(world)
            world.restart()
            assert steps(world) == before
        elif move == "away":
            world.asleep.add(host)
        elif move == "back":
            world.asleep.discard(host)
            world.open(host, build=OLD)
        rollouts = world.state.rollouts
        assert rollouts.count(*BUSY) <= batch
        # At most one batch begins after the last failure that is allowed.
        assert rollouts.count(*FAILURES) <= failures + batch
        running = last(world).state is RolloutState.RUNNING
        assert running == bool(rollouts.count(*BUSY))
    world.advance((30.0 + upgrades.TRIAL_SECONDS + upgrades.RETURN_SECONDS + 1.0) * (len(names) + 1))
    assert last(world).state in (RolloutState.DONE, RolloutState.STOPPED)
    assert not world.state.rollouts.count(*BUSY)
    if last(world).state is RolloutState.DONE:
        assert not world.state.rollouts.count(Step.WAITING)
