"""The health of GPUs: what agents see, what holds, and what becomes of the GPU: see docs/health.md.

healthy -> suspect -> draining -> quarantined -> testing -> healthy. Agents report, the rules here decide: what a sign
means stands in ``verdicts``, how a GPU is taken out of service in ``fencing``, how it comes back in ``retests``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from coordinator.core import retests
from coordinator.core.changes import DeadlineSet, HealthUpdated
from coordinator.core.ends import describe
from coordinator.core.events import AllocationStatus
from coordinator.core.evidence import Condition, Evidence, Sign
from coordinator.core.fencing import fence, opens_at, vacate
from coordinator.core.health_book import devices, enter, holders, of_host, put
from coordinator.core.health_records import GpuHealth, Health, Strike
from coordinator.core.ids import AllocationId, JobId
from coordinator.core.leases import health_deadline
from coordinator.core.model import Allocation, EndCause, Host, Phase
from coordinator.core.state import State
from coordinator.core.turn import Turn
from coordinator.core.verdicts import Grip, Verdict, is_fine, verdict

# A suspect of which nothing was seen for so many seconds is healthy again.
QUIET = 1800.0
# What counts only when it comes again is forgotten after so many seconds; within the shorter time it is one incident.
STRIKES_KEPT = 86400.0
INCIDENT = 60.0
MOST_STRIKES = 16
# Faults that look like the program's, on one GPU: so many jobs make it a suspect, so many of several users (or, of one
# user alone, so many) have it fenced.
SUSPECT_JOBS, FENCE_JOBS, FENCE_JOBS_OF_ONE = 2, 3, 5
# A program that fails within so many seconds after a fault of its GPU did so by that.
BLAME = 60.0
# Of a host that names GPUs which it does not have, so many are believed.
MOST_RECORDS = 64


# ---------------------------------------------------------------- what agents say


def on_evidence(turn: Turn, host: Host, evidence: Iterable[Evidence]) -> None:
    """What the host's agent saw; what it said before (by its number) changes nothing."""
    for seen in evidence:
        known = of_host(turn.state, host.id)
        if seen.sequence <= known.sequence:
            continue
        turn.record(HealthUpdated(replace(known, sequence=seen.sequence)))
        if seen.sign in (Sign.TEST_PASSED, Sign.TEST_FAILED):
            retests.on_result(turn, host, seen)
        elif not is_fine(seen):
            _on_sign(turn, host, seen)
    arm(turn, host)


def _on_sign(turn: Turn, host: Host, seen: Evidence) -> None:
    meaning = verdict(seen)
    if meaning.harmless and not _is_running(turn.state, seen):
        return
    gpu = _card(turn.state, host, seen.gpu)
    target = "" if meaning.host else gpu
    record = _seen(turn, of_host(turn.state, host.id).of(target), meaning, _line(meaning, seen.detail, gpu, target))
    if meaning.grip in (Grip.PROGRAM, Grip.REPEAT):
        record, meaning = _count(turn, record, seen, meaning)
    _judge(turn, host, record, meaning)


def _is_running(state: State, seen: Evidence) -> bool:
    allocation = state.allocations.get(AllocationId(seen.allocation_id))
    return allocation is not None and allocation.wanted is not Phase.STOPPING


def _card(state: State, host: Host, gpu: str) -> str:
    """The card that evidence is about; of one that the host does not have, it is about the host."""
    cards = () if host.hardware is None else host.hardware.gpus
    card = next((card.device for card in cards if gpu in (card.uuid, card.device)), None)
    if card is not None:
        return card
    known = of_host(state, host.id)
    return gpu if any(record.gpu == gpu for record in known.gpus) or len(known.gpus) < MOST_RECORDS else ""


def _line(meaning: Verdict, detail: str, gpu: str, target: str) -> str:
    about = f" on {gpu}" if gpu != target else ""
    return f"{meaning.words}{about}: {detail}" if detail else f"{meaning.words}{about}"


def _seen(turn: Turn, record: GpuHealth, meaning: Verdict, evidence: str) -> GpuHealth:
    record = replace(record, evidence=evidence, seen_since=turn.at.served)
    if meaning.blames:
        record = replace(record, fault_since=turn.at.served, fault_reason=f"GPU fault: {meaning.words}")
    return record


def _count(turn: Turn, record: GpuHealth, seen: Evidence, meaning: Verdict) -> tuple[GpuHealth, Verdict]:
    """Count what means more when it comes again, and what it means by now."""
    now, at = turn.at.served, turn.at.served - max(0.0, seen.seconds_ago)
    what = f"{seen.sign.value} {seen.code}"
    strikes = [strike for strike in record.strikes if now - strike.seen_since < STRIKES_KEPT]
    if meaning.grip is Grip.REPEAT:
        again = any(s.what == what and (s.job != seen.allocation_id or at - s.seen_since > INCIDENT) for s in strikes)
        job, user = seen.allocation_id, ""
        grip = Grip.LET_END if again else Grip.WATCH
    else:
        job = seen.allocation_id.partition(".")[0]
        known = turn.state.jobs.get(JobId(job))
        user = "" if known is None else known.user
        strikes = [strike for strike in strikes if (strike.what, strike.job) != (what, job)]
        grip = _grip_of([*strikes, Strike(what, job, user, at)], meaning)
    if not any((strike.what, strike.job) == (what, job) for strike in strikes):
        strikes.append(Strike(what, job, user, at))
    return replace(record, strikes=tuple(strikes[-MOST_STRIKES:])), replace(meaning, grip=grip)


def _grip_of(strikes: list[Strike], meaning: Verdict) -> Grip:
    """Faults of several jobs on one GPU are hardly all the programs' own."""
    counted = [(strike, is_harmless) for strike in strikes if (is_harmless := _of_program(strike)) is not None]
    telling = [strike for strike, is_harmless in counted if not is_harmless]
    jobs, users = len({strike.job for strike in telling}), len({strike.user for strike in telling})
    if not meaning.harmless and (jobs >= FENCE_JOBS_OF_ONE or (jobs >= FENCE_JOBS and users > 1)):
        return Grip.LET_END
    return Grip.WATCH if len({strike.job for strike, _ in counted}) >= SUSPECT_JOBS else Grip.PROGRAM


def _of_program(strike: Strike) -> bool | None:
    """Of a strike that may be a job's own doing: whether it is harmless. None: it is of another kind, or nobody's."""
    sign, _, code = strike.what.partition(" ")
    meaning = verdict(Condition(Sign.XID, int(code))) if sign == Sign.XID.value else None
    return meaning.harmless if strike.job and meaning is not None and meaning.grip is Grip.PROGRAM else None


def on_conditions(turn: Turn, host: Host) -> None:
    """What holds now, by the hardware that the agent told; only what is new, or has passed, changes anything."""
    if host.hardware is None:
        return
    found: dict[str, dict[Condition, tuple[Verdict, str]]] = {card: {} for card in ("", *devices(host))}
    for gpu, condition in _conditions(host):
        if is_fine(condition):
            continue
        meaning = verdict(condition)
        target = "" if meaning.host else gpu
        key = Condition(condition.sign, condition.code, gpu if gpu != target else "")
        found[target][key] = (meaning, _line(meaning, condition.detail, gpu, target))
    for target, holding in found.items():
        known = of_host(turn.state, host.id).of(target).conditions
        if set(holding) != set(known):
            _conditions_changed(turn, host, target, holding)
    arm(turn, host)


def _conditions(host: Host) -> Iterable[tuple[str, Condition]]:
    assert host.hardware is not None
    yield from (("", condition) for condition in host.hardware.conditions)
    for gpu in host.hardware.gpus:
        yield from ((gpu.device, condition) for condition in gpu.conditions)


def _conditions_changed(turn: Turn, host: Host, target: str, holding: dict[Condition, tuple[Verdict, str]]) -> None:
    record = of_host(turn.state, host.id).of(target)
    now = tuple(sorted(holding, key=lambda c: (c.sign.value, c.code, c.detail)))
    fresh = [holding[condition] for condition in now if condition not in record.conditions]
    put(turn, host.id, replace(record, conditions=now, seen_since=turn.at.served))
    for meaning, line in fresh:
        record = _seen(turn, of_host(turn.state, host.id).of(target), meaning, line)
        if meaning.grip is Grip.REPEAT:
            meaning = replace(meaning, grip=Grip.WATCH)
        _judge(turn, host, record, meaning)


# ---------------------------------------------------------------- what follows


def _judge(turn: Turn, host: Host, record: GpuHealth, meaning: Verdict) -> None:
    """What becomes of the GPU, whose record is not written down yet."""
    state, bad = record.state, meaning.grip >= Grip.LET_END
    if state in (Health.HEALTHY, Health.SUSPECT) and bad:
        fence(turn, host, record, meaning.grip, meaning.text)
    elif state is Health.HEALTHY and meaning.grip is Grip.WATCH:
        enter(turn, host.id, record, Health.SUSPECT, meaning.text)
    elif state is Health.TESTING and bad:
        retests.failed(turn, host, record, meaning.text, meaning.grip)
    elif state is Health.TESTING and record.resumes is Health.HEALTHY and meaning.grip is Grip.WATCH:
        put(turn, host.id, replace(record, resumes=Health.SUSPECT))
    else:
        put(turn, host.id, record)
        if state is Health.DRAINING and meaning.grip >= Grip.MOVE:
            vacate(turn, host, record.gpu, meaning.grip, meaning.text)


def follow(turn: Turn) -> None:
    """At the end of a turn: what nothing holds any more, and was being vacated, is quarantined."""
    for host_id in sorted(turn.state.vacating):
        host = turn.state.hosts[host_id]
        for record in of_host(turn.state, host_id).gpus:
            if record.state is Health.DRAINING and not holders(turn.state, host, record.gpu):
                due = 0.0 if record.manual else turn.at.served + retests.rest(record.failures)
                enter(turn, host_id, replace(record, test_since=due), Health.QUARANTINED, record.reason)
        arm(turn, host)


def on_contact(turn: Turn, host: Host, boot_id: str) -> None:
    """A session begins. ``boot_id``: of the last session; a machine that was started anew since has had its GPUs
    reset."""
    on_conditions(turn, host)
    rebooted = bool(boot_id) and host.hardware is not None and host.hardware.boot_id != boot_id
    for record in of_host(turn.state, host.id).gpus:
        if record.state is Health.QUARANTINED and record.test_since and rebooted:
            put(turn, host.id, replace(record, test_since=turn.at.served))
    arm(turn, host)


def on_due(turn: Turn, host: Host) -> None:
    """The moment has come at which a GPU's state may change by itself."""
    now = turn.at.served
    for known in of_host(turn.state, host.id).gpus:
        due = _due(turn.state, host, known, now)
        record = of_host(turn.state, host.id).of(known.gpu)
        if due is None or due > now:
            continue
        if record.state is Health.SUSPECT and not record.conditions and now >= record.seen_since + QUIET:
            reason = f"nothing was seen for {QUIET / 60:.0f} minutes"
            enter(turn, host.id, replace(record, held_back=0), Health.HEALTHY, reason)
        elif record.state is Health.SUSPECT:
            fence(turn, host, record, Grip(record.held_back), record.evidence)
        elif record.state is Health.QUARANTINED:
            retests.begin(turn, host, record)
        elif record.state is Health.TESTING:
            retests.unanswered(turn, host, record)
    arm(turn, host)


def _due(state: State, host: Host, record: GpuHealth, now: float) -> float | None:
    """When (served seconds) a GPU's state changes by itself; None: not before something else happens."""
    if record.state is Health.SUSPECT:
        passes = None if record.conditions else record.seen_since + QUIET
        opens = (opens_at(state, host.id, now) or now) if record.held_back else None
        return min((at for at in (passes, opens) if at is not None), default=None)
    if record.state is Health.QUARANTINED:
        return retests.due(host, record)
    return record.since + retests.LONGEST if record.state is Health.TESTING else None


def arm(turn: Turn, host: Host) -> None:
    """Wake up when the state of one of the host's GPUs changes by itself."""
    known = turn.state.hosts[host.id]
    records = of_host(turn.state, host.id).gpus
    dues = [due for record in records if (due := _due(turn.state, known, record, turn.at.served)) is not None]
    at = turn.at.mono + max(0.0, min(dues) - turn.at.served) if dues else None
    if at != turn.state.deadlines.get(health_deadline(host.id)):
        turn.record(DeadlineSet(health_deadline(host.id), at))


# ---------------------------------------------------------------- what ran there


def blame(turn: Turn, allocation: Allocation, status: AllocationStatus) -> AllocationStatus:
    """The end of a program on a GPU that had a fault just then is its host's doing, not the program's."""
    failed = status.cause in (EndCause.EXIT, EndCause.START_FAILED) and status.exit_code != 0
    health = turn.state.health.get(allocation.host_id)
    if health is None or not failed or not allocation.gpus:
        return status
    host = turn.state.hosts[allocation.host_id]
    parts = {gpu.uuid: gpu.device for gpu in (host.hardware.gpus if host.hardware else ())}
    for card in ("", *dict.fromkeys(parts.get(gpu, gpu) for gpu in allocation.gpus)):
        record = health.of(card)
        recent = record.fault_since and turn.at.served - record.fault_since <= BLAME
        if recent and record.fault_since >= allocation.held_since:
            return replace(status, cause=EndCause.HOST, reason=f"{record.fault_reason}; {describe(status)}")
    return status
