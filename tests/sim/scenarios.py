"""What the simulator once found, as short scripts: each breaks something at the very moment at which it hurt.

A seed that breaks is kept here as the script of its essence, since a seed alone means another history as soon as the
generator changes. `SEEDS` is for the time until then.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from coordinator.core.model import HostFacts
from coordinator.core.spec import AfterWhen, Dependency, JobSpec, OnNodeFailure, Placement, RetryEvent, RetryPolicy
from tests.sim.coordinator import BEFORE_COMMIT
from tests.sim.host import Host, Program
from tests.sim.user import User
from tests.sim.world import DRIFT, World

SEEDS: tuple[int, ...] = ()

# A program that outlives every lease and heeds no signal.
STUBBORN = Program(seconds=60.0, term_seconds=None)


def cut_off_before_the_first_answer(world: World, user: User) -> float:
    """A host that has just booted is cut off right after its first order: it must be fenced all the same."""
    first = _host(world)
    _at(world, 1.0, first.crash)
    _submit(world, user, 2.0, STUBBORN)
    _at(world, 5.0, first.boot)

    def cut() -> None:
        if world.ledger.live:
            first.link.up_cut = first.link.down_cut = True
        else:
            _at(world, 0.0005, cut)

    _at(world, 5.0, cut)
    _at(world, 12.0, lambda: _host(world))
    return 90.0


def ordered_while_the_lease_was_over(world: World, user: User) -> float:
    """Work is placed on a host in the turn in which it comes back: it must begin, though its lease had ended."""
    host = _host(world)
    _at(world, 2.0, lambda: _cut(host))
    _submit(world, user, 30.0, Program(seconds=1.0))
    return 40.0


def gone_for_longer_than_suspect(world: World, user: User) -> float:
    """An agent says goodbye and is away for longer than the suspect time: its tasks go on, and keep their nodes."""
    host = _host(world)
    _host(world)
    _submit(world, user, 1.0, Program(seconds=20.0))
    _at(world, 5.0, lambda: _goodbye(host))
    _at(world, 5.1, host.kill_agent)
    _at(world, 18.0, host.start_agent)
    return 30.0


def session_that_was_never_stored(world: World, user: User) -> float:
    """After a restart of the coordinator a host's session fails with the disk, and the host is cut off."""
    host = _host(world)
    _submit(world, user, 1.0, STUBBORN)
    _at(world, 6.0, world.kill_coordinator)
    _at(world, 6.5, lambda: _fill_disk(world, 9.0))
    _at(world, 6.5, world.start_coordinator)
    _at(world, 8.5, lambda: _cut(host))
    return 60.0


def woken_with_an_old_order(world: World, user: User) -> float:
    """A frozen agent wakes with an order of an older session, whose node runs elsewhere by now."""
    host = _host(world)
    _at(world, 5.0, lambda: _freeze(host, 45.0))
    _submit(world, user, 6.0, STUBBORN)
    _at(world, 10.0, world.kill_coordinator)
    _at(world, 10.2, world.start_coordinator)
    _at(world, 20.0, lambda: _host(world))
    return 60.0


def spawner_that_dies_while_it_stops(world: World, user: User) -> float:
    """The spawner dies between the signal and the kill at the end of a lease: the next one has no time to give."""
    host = _host(world)
    _submit(world, user, 1.0, STUBBORN)
    _at(world, 5.0, lambda: _cut(host))
    _at(world, 7.0, lambda: _host(world))
    _at(world, 18.0, host.kill_spawner)
    return 60.0


def stopped_while_it_fails(world: World, user: User) -> float:
    """A node that had reached its limit ends after its user's stop: the job is stopped, not failed."""
    _host(world)
    spec = JobSpec(max_duration=6.0, stop_duration=6.0, on_node_failure=OnNodeFailure.FAIL, placement=Placement.ANY)
    _submit(world, user, 1.0, STUBBORN, spec, stop_after=8.0)
    return 12.0


def slow_clock_of_a_host_that_is_cut_off(world: World, user: User) -> float:
    """A host whose clock is slow stops its work late, and it is placed anew later still."""
    host = _host(world)
    host.rate = 1.0 - DRIFT
    _at(world, 1.0, host.kill_agent)
    _at(world, 1.0, host.kill_spawner)
    _at(world, 1.5, host.start_agent)
    _submit(world, user, 3.0, STUBBORN)
    _at(world, 6.0, lambda: _host(world))
    _at(world, 8.0, lambda: _cut(host))
    return 60.0


def late_answers_of_a_host_that_is_cut_off(world: World, user: User) -> float:
    """The last answer took long to come: the lease that it gives began when it was asked for."""
    host = _host(world)
    _submit(world, user, 1.0, STUBBORN)
    _at(world, 2.0, lambda: setattr(host.link, "delay", 1.4))
    _at(world, 10.0, lambda: _host(world))
    _at(world, 25.0, lambda: setattr(host.link, "up_cut", True))
    return 80.0


def repeated_removal_that_was_never_stored(world: World, user: User) -> float:
    """A removal and its repeat are decided in one turn, which never gets to the disk: nobody is told that it did."""
    host = _host(world)
    _at(world, 2.0, lambda: _freeze_coordinator(world, 8.0))
    _at(world, 2.1, lambda: user.remove(host))
    _at(world, 7.0, lambda: setattr(world.coordinator, "doomed", BEFORE_COMMIT))
    _at(world, 9.0, world.start_coordinator)
    _submit(world, user, 12.0, Program(seconds=3.0), JobSpec(nodes=2, placement=Placement.ANY))
    return 20.0


def output_of_which_a_crash_leaves_the_beginning(world: World, user: User) -> float:
    """The coordinator has more of a log than its machine after a crash: what is there is old, and not sent anew."""
    host = _host(world)
    once = JobSpec(placement=Placement.ANY, retry=RetryPolicy(frozenset({RetryEvent.ERROR})))
    _submit(world, user, 1.0, Program(seconds=30.0, log_bytes=5000), once)
    # As another task's end would have it.
    _at(world, 19.0, lambda: setattr(host.journal, "synced", len(host.journal.written)))
    _at(world, 20.0, host.crash)
    _at(world, 20.5, lambda: host.files.sizes.update(dict.fromkeys(host.files.sizes, 100)))
    _at(world, 21.0, host.boot)
    return 30.0


def tried_again_by_a_coordinator_that_dies(world: World, user: User) -> float:
    """A failed job is tried again, and one waits for its end, over deaths before and after the commit."""
    _host(world)
    _submit(world, user, 1.0, Program(seconds=2.0, code=7))
    world.programs["follower"] = Program(seconds=2.0)
    _at(world, 6.0, lambda: setattr(world.coordinator, "doomed", BEFORE_COMMIT))
    _at(world, 6.0, lambda: user.retry("job"))
    _at(world, 8.0, world.start_coordinator)
    follower = JobSpec(
        name="follower", argv=("x",), placement=Placement.ANY, after=(Dependency("job", AfterWhen.DONE),)
    )
    _at(world, 13.0, lambda: user.submit(follower, None))
    _at(world, 13.5, world.kill_coordinator)
    _at(world, 15.0, world.start_coordinator)
    return 20.0


SCENARIOS: tuple[Callable[[World, User], float], ...] = (
    cut_off_before_the_first_answer,
    ordered_while_the_lease_was_over,
    gone_for_longer_than_suspect,
    session_that_was_never_stored,
    woken_with_an_old_order,
    spawner_that_dies_while_it_stops,
    stopped_while_it_fails,
    slow_clock_of_a_host_that_is_cut_off,
    late_answers_of_a_host_that_is_cut_off,
    repeated_removal_that_was_never_stored,
    output_of_which_a_crash_leaves_the_beginning,
    tried_again_by_a_coordinator_that_dies,
)


def _host(world: World) -> Host:
    return world.join_host(1, 0, HostFacts())


def _submit(
    world: World, user: User, at: float, program: Program, spec: JobSpec | None = None, stop_after: float | None = None
) -> None:
    named = replace(spec or JobSpec(placement=Placement.ANY), name="job", argv=("x",))
    world.programs["job"] = program
    _at(world, at, lambda: user.submit(named, stop_after))


def _at(world: World, seconds: float, call: Callable[[], object]) -> None:
    world.clock.after(seconds, None, call)


def _cut(host: Host) -> None:
    host.link.up_cut = host.link.down_cut = True


def _freeze(host: Host, until: float) -> None:
    if host.agent is not None:
        host.agent.process.frozen_until = until


def _freeze_coordinator(world: World, until: float) -> None:
    if world.coordinator is not None:
        world.coordinator.process.frozen_until = until


def _goodbye(host: Host) -> None:
    if host.agent is not None:
        host.agent.goodbye()


def _fill_disk(world: World, until: float) -> None:
    world.disk_state.full_until = until
