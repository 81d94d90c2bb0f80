"""What goes wrong: each fault is one function that breaks something and plans its end."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

from coordinator.core.evidence import Sign
from tests.sim.coordinator import AFTER_APPEND, AFTER_COMMIT, AFTER_EFFECTS, BEFORE_APPEND, BEFORE_COMMIT

if TYPE_CHECKING:
    from tests.sim.host import Host
    from tests.sim.world import World

DAY = 86400.0
VOUCHED_AFTER = (10.0, 90.0)
# Signs of all kinds: of the program, of a GPU that may go on, of one that may not, of the whole host, of nothing known.
SIGNS = (
    *((Sign.XID, code) for code in (31, 45, 48, 64, 79, 94, 94, 119, 999)),
    (Sign.REMAP_FAILED, 1),
    (Sign.DRIVER, 0),
    (Sign.TEST_FAILED, 1),
)


def plan(world: World, count: int, until: float, without: Collection[str] = ()) -> None:
    """``count`` faults at random moments before ``until``; those ``without`` which it is to go are left out."""
    kinds, weights = list(KINDS), list(KINDS.values())
    for number, fault in enumerate(world.random.choices(kinds, weights, k=count)):
        at = world.random.uniform(0.5, until)
        if f"fault{number}" not in without:
            world.clock.after(at, None, fault, world)


def heal(world: World) -> None:
    """Mend what does not mend itself."""
    world.trace("--- faults stop")
    world.disk_state.commit = 0.003
    world.cut.clear()
    for host in world.hosts.values():
        host.link.mend()
        host.boot()
        host.evidence.clear()
        # What was seen before may still be on its way: it is vouched for once that has come.
        for seconds in VOUCHED_AFTER:
            world.clock.after(seconds, None, world.user.vouch, host.id)
    if world.coordinator is not None:
        world.coordinator.doomed = ""
    world.disk_state.full_until = 0.0
    world.start_coordinator()


def _a_host(world: World) -> Host:
    hosts = list(world.hosts.values())
    # When all were removed and none has joined instead yet, it hits one that does not matter any more.
    return world.random.choice([host for host in hosts if not host.removed] or hosts)


def _a_while(world: World) -> float:
    # Often short; sometimes longer than any lease.
    return world.random.choice([0.05, 0.5, 2.0, 7.0, 14.0, 25.0, 45.0]) * world.random.uniform(0.5, 1.5)


def _later(world: World, call: Callable[[], object]) -> None:
    world.clock.after(_a_while(world), None, call)


# --- the network ----------------------------------------------------------------------------------------------------


def cut_link(world: World) -> None:
    """A host does not reach the coordinator, or the other way round, or both."""
    host = _a_host(world)
    up, down = world.random.choice([(True, True), (True, True), (True, False), (False, True)])
    world.trace(host.name, "is cut off", "up" * up, "down" * down)
    host.link.up_cut, host.link.down_cut = up, down

    def mend() -> None:
        world.trace(host.name, "is connected")
        host.link.up_cut = host.link.down_cut = False

    _later(world, mend)


def spoil_link(world: World) -> None:
    """Losses, repeats and delays."""
    link, random = _a_host(world).link, world.random
    link.loss, link.repeat = random.choice([0.0, 0.05, 0.3]), random.choice([0.0, 0.1, 0.4])
    link.delay, link.jitter = random.choice([0.002, 0.15, 1.0]), random.choice([0.002, 0.3, 3.0])
    _later(world, link.mend)


def cut_peers(world: World) -> None:
    """One host does not reach another; the way back is open."""
    one, other = _a_host(world), _a_host(world)
    world.cut.add((one.id, other.id))
    _later(world, lambda: world.cut.discard((one.id, other.id)))


# --- hosts and agents -----------------------------------------------------------------------------------------------


def crash_host(world: World) -> None:
    """The power goes, and comes back."""
    host = _a_host(world)
    host.crash()
    _later(world, host.boot)


def kill_agent(world: World) -> None:
    """Kill -9 of the daemon."""
    host = _a_host(world)
    host.kill_agent()
    _later(world, host.start_agent)


def upgrade_agent(world: World) -> None:
    """The daemon leaves on purpose, and comes back."""
    host = _a_host(world)
    if host.agent is not None:
        world.trace(host.name, "agent says goodbye")
        host.agent.goodbye()
        world.clock.after(0.05, None, host.kill_agent)
        _later(world, host.start_agent)


def freeze_agent(world: World) -> None:
    """The daemon does nothing for a while."""
    host = _a_host(world)
    if host.agent is not None:
        world.trace(host.name, "agent freezes")
        host.agent.process.frozen_until = world.clock.now + _a_while(world)


def kill_spawner(world: World) -> None:
    """Kill -9 of the spawner, now or right after its next spawn.

    Never while the daemon is away too: then nobody is left to hold the lease, and nothing could be promised.
    """
    host = _a_host(world)
    if host.agent is None or host.agent.process.frozen_until > world.clock.now:
        return
    if world.random.random() < 0.5:
        host.spawner_doomed = True
    else:
        host.kill_spawner()


def see_gpu_fault(world: World) -> None:
    """A GPU shows that it is not sound, or a user has those of a host tested."""
    host = _a_host(world)
    sign, code = world.random.choice(SIGNS)
    if world.random.random() < 0.2:
        world.user.test_gpus(host.id)
    elif host.gpus and host.up:
        host.see(f"GPU-{host.id[2:]}-{world.random.randrange(host.gpus)}", sign, code)


# --- the coordinator ------------------------------------------------------------------------------------------------


def kill_coordinator(world: World) -> None:
    """Kill -9, now or in the middle of its next turn."""
    point = world.random.choice(["", BEFORE_COMMIT, AFTER_COMMIT, AFTER_EFFECTS, BEFORE_APPEND, AFTER_APPEND])
    if world.coordinator is None:
        return
    if point:
        world.coordinator.doomed = point
    else:
        world.kill_coordinator()
    _later(world, world.start_coordinator)


def freeze_coordinator(world: World) -> None:
    """The coordinator does nothing for a while."""
    if world.coordinator is not None:
        world.trace("coordinator freezes")
        world.coordinator.process.frozen_until = world.clock.now + _a_while(world)


def fail_disk(world: World) -> None:
    """The coordinator's disk takes nothing: its next commits fail."""
    world.disk_state.full_until = world.clock.now + world.random.choice([0.01, 1.0, _a_while(world)])


def slow_disk(world: World) -> None:
    """Commits take long."""
    world.disk_state.commit = world.random.choice([0.1, 1.0, 4.0])

    def recover() -> None:
        world.disk_state.commit = 0.003

    _later(world, recover)


def jump_wall_clock(world: World) -> None:
    """Somebody sets the clocks, of all machines or of one host."""
    jump = world.random.choice([-DAY, -60.0, 60.0, DAY])
    if world.random.random() < 0.5:
        world.wall_offset += jump
    else:
        _a_host(world).wall_offset += jump


# --- what owners do -------------------------------------------------------------------------------------------------


def cordon_host(world: World) -> None:
    """No new work for a host, for a while."""
    world.user.cordon(_a_host(world).id, _a_while(world))


def drain_host(world: World) -> None:
    """No new work for a host, for a while, and what runs there has to go."""
    world.user.drain(_a_host(world).id, world.random.choice([0.0, 3.0, 15.0]), _a_while(world))


def remove_host(world: World) -> None:
    """A host is taken out of the cluster, and another one joins."""
    world.user.remove(_a_host(world))


KINDS: dict[Callable[[World], None], float] = {
    cut_link: 4,
    spoil_link: 2,
    cut_peers: 2,
    crash_host: 2,
    kill_agent: 3,
    upgrade_agent: 1.5,
    freeze_agent: 1.5,
    kill_spawner: 1,
    see_gpu_fault: 2,
    kill_coordinator: 4,
    freeze_coordinator: 0.7,
    fail_disk: 1,
    slow_disk: 0.7,
    jump_wall_clock: 1,
    cordon_host: 1,
    drain_host: 1,
    remove_host: 1,
}
