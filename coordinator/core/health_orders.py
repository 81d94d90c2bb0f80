"""What users do about the health of GPUs: quarantine one, vouch for one, have one tested."""

from __future__ import annotations

from dataclasses import replace

from coordinator.core import health, retests
from coordinator.core.errors import Conflict, Invalid, NotFound
from coordinator.core.events import QuarantineRequested, ReleaseRequested, TestRequested
from coordinator.core.fencing import vacate
from coordinator.core.health_book import devices, enter, holders, name_of, of_host, watched
from coordinator.core.health_records import GpuHealth, Health
from coordinator.core.model import Host, HostState
from coordinator.core.sessions import find_host
from coordinator.core.state import State
from coordinator.core.turn import Turn
from coordinator.core.verdicts import Grip


def on_quarantine(turn: Turn, event: QuarantineRequested) -> Host:
    """Take a GPU out of service until a user releases it; what it runs is stopped with its grace and placed elsewhere.

    Raises NotFound, and Invalid without a reason.
    """
    host = find_host(turn.state, event.host)
    gpu = find_gpu(turn.state, host, event.gpu)
    if not event.reason.strip():
        raise Invalid("a quarantine needs a reason, for others to read; say it with --reason")
    record = of_host(turn.state, host.id).of(gpu)
    reason = f"{' '.join(event.reason.split())} (quarantined by {event.user or 'a user'})"
    record = replace(record, manual=True, test_since=0.0, held_back=0, evidence="")
    if record.state is Health.TESTING:
        enter(turn, host.id, replace(record, awaited=()), Health.QUARANTINED, reason)
    elif record.state.fenced:
        enter(turn, host.id, record, record.state, reason)
    else:
        enter(turn, host.id, record, Health.DRAINING, reason)
    vacate(turn, host, gpu, Grip.MOVE, reason)
    health.arm(turn, host)
    return turn.state.hosts[host.id]


def on_release(turn: Turn, event: ReleaseRequested) -> Host:
    """A user vouches for it: what was held against it is forgotten, and conditions that hold now count no more.

    Raises NotFound, and Conflict when nothing is held against it.
    """
    host = find_host(turn.state, event.host)
    chosen = None if not event.gpu else find_gpu(turn.state, host, event.gpu)
    bad = [r for r in of_host(turn.state, host.id).gpus if r.state is not Health.HEALTHY and chosen in (None, r.gpu)]
    if not bad:
        what = f"host {host.name!r}" if chosen is None else f"{name_of(host, chosen)} of host {host.name!r}"
        raise Conflict(f"{what} is not out of service, nor suspect; 'coordinator events {host.name}' tells what was")
    for record in bad:
        clean = GpuHealth(record.gpu, record.state, conditions=record.conditions)
        enter(turn, host.id, clean, Health.HEALTHY, f"released by {event.user or 'a user'}")
    health.arm(turn, host)
    return turn.state.hosts[host.id]


def on_test(turn: Turn, event: TestRequested) -> Host:
    """Have a GPU tested, or all of the host that nothing holds. Raises NotFound and Conflict."""
    host = find_host(turn.state, event.host)
    if host.state is not HostState.ONLINE:
        raise Conflict(f"host {host.name!r} is {host.state.value}; its agent tests GPUs, and has to be in contact")
    if not watched(host):
        raise Conflict(
            f"the agent of host {host.name!r} does not look after GPUs: it has none, or is of an older release; "
            "upgrade it"
        )
    chosen = devices(host) if not event.gpu else (find_gpu(turn.state, host, event.gpu),)
    idle = [gpu for gpu in chosen if not holders(turn.state, host, gpu)]
    if not idle:
        names = " and ".join(name_of(host, gpu) for gpu in chosen[:3])
        raise Conflict(
            f"{names} of host {host.name!r} is in use, and a test needs it alone; "
            f"have its work go first: coordinator host drain {host.name}"
        )
    for gpu in idle:
        record = of_host(turn.state, host.id).of(gpu)
        if record.state not in (Health.TESTING, Health.DRAINING):
            retests.begin(turn, host, replace(record, gpu=gpu))
    _test_the_rest(turn, host, event)
    health.arm(turn, host)
    return turn.state.hosts[host.id]


def _test_the_rest(turn: Turn, host: Host, event: TestRequested) -> None:
    """The driver and the bus, if they are why nothing works."""
    own = of_host(turn.state, host.id).of("")
    if not event.gpu and own.state is Health.QUARANTINED:
        retests.begin(turn, host, own)


def find_gpu(state: State, host: Host, ref: str) -> str:
    """The uuid of a card of the host, by its uuid, that of one of its MIG instances, or its number. Raises NotFound."""
    cards = () if host.hardware is None else host.hardware.gpus
    found = next((card.device for card in cards if ref in (card.uuid, card.device, str(card.index))), None)
    if found is None:
        found = next((record.gpu for record in of_host(state, host.id).gpus if record.gpu == ref and ref), None)
    if found is None:
        raise NotFound(f"host {host.name!r} has no GPU {ref!r}; 'coordinator hosts --json' lists them")
    return found
