"""One history from one seed: a small fleet, a few jobs, faults for a while, then peace until all have ended."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

import structlog

from coordinator.core.model import HostFacts
from coordinator.core.spec import (
    DisconnectAction,
    FileArchive,
    GpuRequest,
    JobSpec,
    OnDisconnect,
    OnNodeFailure,
    Placement,
    PreflightKind,
    PreflightPolicy,
    Range,
    Resources,
    RetryEvent,
    RetryPolicy,
    Spread,
    StopCriteria,
)
from tests.sim import faults
from tests.sim.files import packed
from tests.sim.host import Program
from tests.sim.ledger import Violated
from tests.sim.output import SIZES
from tests.sim.user import User
from tests.sim.world import Parts, World

SWEEP_SECONDS = 5.0
ON_DISCONNECT = (
    *(OnDisconnect(),) * 4,
    OnDisconnect(DisconnectAction.STOP, 25.0),
    OnDisconnect(DisconnectAction.KEEP),
    OnDisconnect(DisconnectAction.KEEP),
    OnDisconnect(DisconnectAction.KEEP, 30.0),
)
# All jobs must have ended so long after the last fault.
PEACE_SECONDS = 900.0


class Broken(AssertionError):
    """A history in which something happened that must never happen. The message has the seed and the moment."""


@dataclass(frozen=True, slots=True)
class Shape:
    """How large a history is."""

    hosts: int = 4
    jobs: int = 5
    faults: int = 10
    seconds: float = 40.0


Script = Callable[[World, User], float]


def run(
    seed: int,
    parts: Parts | None = None,
    tell: Callable[[str], None] | None = None,
    script: Script | None = None,
    without: Collection[str] = (),
) -> World:
    """Run one history to its end: a random one, or what ``script`` plans (it answers when the faults stop).

    ``without`` names what a random one leaves out (``fault3``, ``job0``), so that a broken one can be made smaller.
    Raises Broken.
    """
    world = World(seed, parts or Parts(), tell)
    try:
        with _quiet():
            _play(world, script or partial(_at_random, without=without))
    except Exception as error:
        # Whatever the code under test raises is a finding; it is told with the seed that replays it.
        left_out = f" without {','.join(sorted(without))}" if without else ""
        raise Broken(f"seed {seed}{left_out}, at {world.clock.now:.3f} s: {type(error).__name__}: {error}") from error
    finally:
        world.end()
    return world


def _play(world: World, script: Script) -> None:
    user = world.user
    world.start_coordinator()
    until = script(world, user)
    world.clock.after(until, None, faults.heal, world)
    _sweep_on(world)
    world.clock.run(until + 0.001)
    if not world.clock.run(until + PEACE_SECONDS, lambda: _at_rest(world, user)):
        raise Violated(f"no end in {PEACE_SECONDS:g} s of peace: {_what_is_left(world, user)}")
    world.ledger.check_jobs()
    world.ledger.output.check(world.ledger.outcomes)


def _at_random(world: World, user: User, without: Collection[str]) -> float:
    shape = Shape()
    _join_hosts(world, world.random.randint(1, shape.hosts))
    for number in range(world.random.randint(1, shape.jobs)):
        _plan_job(world, user, number, shape.seconds, skip=f"job{number}" in without)
    faults.plan(world, world.random.randint(0, shape.faults), shape.seconds, without)
    return shape.seconds


def _join_hosts(world: World, count: int) -> None:
    networks = world.random.choice([(None,), (None,), ("x",), ("x", "y")])
    for number in range(count):
        gpus, cpus = world.random.choice([0, 1, 2]), world.random.randint(1, 4)
        facts = HostFacts(
            f"b{number % 3}",
            network=networks[number % len(networks)],
            region=f"r{number % 2}",
            price_per_hour=600.0 * (number % 3),
        )
        world.join_host(cpus, gpus, facts)


def _preflight(number: int) -> PreflightPolicy | None:
    """Every third group measures first, and is formed anew if need be; of some all members measure together."""
    kind = PreflightKind.COLLECTIVES if number % 2 else PreflightKind.NETWORK
    return PreflightPolicy(kind, seconds=0.5) if number % 3 == 1 else None


def _plan_job(world: World, user: User, number: int, until: float, skip: bool) -> None:
    random, name = world.random, f"job{number}"
    placement = random.choice([Placement.ANY, Placement.CLUSTER])
    most = len(world.hosts) if placement is Placement.CLUSTER else 4
    gpu = GpuRequest(count=Range(1, 1)) if random.random() < 0.4 else None
    spec = JobSpec(
        name=name,
        argv=("x",),
        nodes=random.randint(1, most),
        placement=placement,
        resources=Resources(cpus=Range(random.randint(1, 2)), gpu=gpu),
        stop_criteria=random.choice([StopCriteria.ALL_DONE, StopCriteria.ALL_DONE, StopCriteria.MASTER_DONE]),
        max_duration=random.choice([None, None, 6.0]),
        stop_duration=random.choice([None, 0.0, 1.0, 6.0]),
        retry=random.choice(
            [
                *(None, None),
                RetryPolicy(attempts=3),
                RetryPolicy(frozenset({RetryEvent.ERROR}), attempts=2),
                RetryPolicy(attempts=20, duration=random.choice([5.0, 30.0])),
            ]
        ),
        on_node_failure=random.choice(list(OnNodeFailure)) if placement is Placement.ANY else OnNodeFailure.GO_ON,
        spread=random.choice([Spread.HOST, Spread.REGION]),
        priority=random.choice([0, 0, 5]),
        spares=random.choice([0, 0, 1, 2]) if placement is Placement.CLUSTER else 0,
        on_disconnect=random.choice(ON_DISCONNECT),
        redundancy=random.choice([1, 1, 1, 2, 3]) if placement is Placement.ANY else 1,
        files=_upload(world, name) if random.random() < 0.25 else None,
        budget=random.choice([None, None, None, 1.0, 5.0]),
        preflight=_preflight(number) if placement is Placement.CLUSTER else None,
    )
    world.programs[name] = Program(
        seconds=random.choice([0.0, 0.1, 2.0, 8.0, 20.0, 1e9]),
        code=random.choice([0, 0, 0, 3]),
        term_seconds=random.choice([0.0, 0.1, 2.0, None]),
        log_bytes=random.choice(SIZES),
        failing_rank=random.choice([None, 0, 1]),
    )
    if placement is Placement.ANY and random.random() < 0.3:
        spec, world.programs[name] = _crowd(world, spec, world.programs[name])
    stop_after = random.uniform(0.0, 20.0) if random.random() < 0.25 else None
    if not _ends_by_itself(world, spec):
        stop_after = until + 30.0
    at, abort = random.uniform(0.1, until * 0.6), random.random() < 0.2
    if skip:
        del world.programs[name]
    else:
        world.clock.after(at, None, user.submit, spec, stop_after, abort)


def _crowd(world: World, spec: JobSpec, program: Program) -> tuple[JobSpec, Program]:
    """Many short nodes, which hosts have in hand several at a time, and among them some that are not short."""
    random = world.random
    nodes = random.randint(10, 40)
    slow = tuple(random.sample(range(nodes), random.choice([0, 0, 1, 3])))
    short = replace(program, seconds=random.choice([0.0, 0.02, 0.05]), slow_ranks=slow)
    return replace(spec, nodes=nodes, redundancy=1), short


def _upload(world: World, name: str) -> FileArchive:
    sha256, data = packed(name)
    world.archives[sha256] = data
    return FileArchive(sha256, len(data))


def _ends_by_itself(world: World, spec: JobSpec) -> bool:
    """Whether the fleet can hold it and its program ends; a user gives up on any other."""
    if world.programs[spec.name or ""].seconds > 1e6 and spec.max_duration is None:
        return False
    gpus = 0 if spec.resources.gpu is None else 1
    able = [h for h in world.hosts.values() if h.cpus >= (spec.resources.cpus.min or 1) and h.gpus >= gpus]
    if spec.placement is Placement.ANY:
        return bool(able)
    stated = {host.facts.network for host in able}
    return any(sum(host.facts.network == name for host in able) >= spec.nodes for name in stated)


def _sweep_on(world: World) -> None:
    world.ledger.sweep()
    world.clock.after(SWEEP_SECONDS, None, _sweep_on, world)


def _at_rest(world: World, user: User) -> bool:
    return not _what_is_left(world, user)


def _what_is_left(world: World, user: User) -> list[str]:
    left = [f"{user.busy} requests"] if user.busy else []
    left += [f"{job.id} {job.state.value}: {job.reason}" for job in world.disk.jobs.values() if not job.state.ended]
    left += [f"{key} held" for key in world.disk.allocations]
    left += [f"{key} running" for key in world.ledger.live]
    left += [f"request of {name} unknown" for name in world.programs if not _known(world, name)]
    for host in world.hosts.values():
        if host.removed:
            continue
        if host.agent is None or host.spawner is None:
            left.append(f"{host.name} without agent")
            continue
        left += [f"{seen.id} {seen.phase.name} on {host.name}" for seen in host.agent.work.observed.values()]
        left += [f"record of {key} on {host.name}" for key in host.spawner.records]
    return left


def _known(world: World, name: str) -> bool:
    return f"request-{name}" in world.ledger.requests


@contextmanager
def _quiet() -> Iterator[None]:
    """Production logs as it does; a history has thousands of lines of it that nobody reads."""
    before = structlog.get_config()["wrapper_class"]
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        yield
    finally:
        structlog.configure(wrapper_class=before)
