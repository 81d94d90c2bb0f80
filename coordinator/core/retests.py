"""The way back: a GPU that was quarantined is tested by its host's agent after a rest, and again after a longer one."""

from __future__ import annotations

from dataclasses import replace

from coordinator.core.effects import TestWanted
from coordinator.core.evidence import Evidence, Sign
from coordinator.core.fencing import fence
from coordinator.core.health_book import devices, enter, of_host, put, watched
from coordinator.core.health_records import GpuHealth, Health
from coordinator.core.ids import HostId
from coordinator.core.model import Host, HostState
from coordinator.core.state import State
from coordinator.core.turn import Turn
from coordinator.core.verdicts import Grip, verdict

# Seconds in quarantine before the first test, doubled with each failure in a row, up to the longest.
FIRST_REST = 600.0
LONGEST_REST = 86400.0
# A condition has to be gone for so many seconds before it counts as gone.
SETTLED = 60.0
# So many seconds an agent may take to test.
LONGEST = 900.0


def rest(failures: int) -> float:
    """Seconds in quarantine after so many failures in a row."""
    return float(min(LONGEST_REST, FIRST_REST * 2.0 ** min(max(0, failures - 1), 16)))


def due(host: Host, record: GpuHealth) -> float | None:
    """When (served seconds) a quarantined GPU is to be tested; None: not as things are.

    Not while what it is quarantined for holds, nor while nobody is there who could.
    """
    if not record.test_since or host.state is not HostState.ONLINE or not watched(host):
        return None
    if any(verdict(condition).grip >= Grip.LET_END for condition in record.conditions):
        return None
    return max(record.test_since, record.seen_since + SETTLED)


def begin(turn: Turn, host: Host, record: GpuHealth) -> None:
    """Have the agent test the GPU; for the host's own record, all of them. It gets no work meanwhile."""
    number = of_host(turn.state, host.id).tests + 1
    awaited = (record.gpu,) if record.gpu else (devices(host) or ("",))
    tested = replace(record, test=number, awaited=awaited, resumes=record.state)
    enter(turn, host.id, tested, Health.TESTING, f"test {number}, after: {record.reason or 'a request'}", tests=number)
    turn.effect(_order(host.id, tested))


def orders(state: State, host_id: HostId) -> list[TestWanted]:
    """The tests that the host is to do: told again with each session, for an agent does each once."""
    records = of_host(state, host_id).gpus
    return [_order(host_id, record) for record in records if record.state is Health.TESTING]


def _order(host_id: HostId, record: GpuHealth) -> TestWanted:
    return TestWanted(host_id, tuple(gpu for gpu in record.awaited if gpu), record.test)


def on_result(turn: Turn, host: Host, seen: Evidence) -> None:
    """What came of a test. One that is not under way any more is passed over."""
    for record in of_host(turn.state, host.id).gpus:
        if record.state is not Health.TESTING or record.test != seen.code or seen.gpu not in (*record.awaited, ""):
            continue
        words = "passed" if seen.sign is Sign.TEST_PASSED else "failed"
        about = f" on {seen.gpu}" if seen.gpu != record.gpu else ""
        line = f"test {seen.code} {words}{about}" + (f": {seen.detail}" if seen.detail else "")
        record = replace(record, evidence=line, seen_since=turn.at.served)
        left = tuple(gpu for gpu in record.awaited if seen.gpu and gpu != seen.gpu)
        if seen.sign is Sign.TEST_FAILED:
            failed(turn, host, record, line)
        elif left:
            put(turn, host.id, replace(record, awaited=left))
        else:
            _passed(turn, host, record, line)


def _passed(turn: Turn, host: Host, record: GpuHealth, line: str) -> None:
    record = replace(record, awaited=(), strikes=())
    if record.manual:
        enter(turn, host.id, record, Health.QUARANTINED, f"{line}; a user quarantined it, and a user alone releases it")
        return
    # What held when it was healthy a user has vouched for; what came since has changed what it was, or ended the test.
    holding = () if record.resumes is Health.HEALTHY else tuple(map(verdict, record.conditions))
    worst = max(holding, key=lambda meaning: meaning.grip, default=None)
    if worst is None:
        enter(turn, host.id, replace(record, held_back=0), Health.HEALTHY, line)
    elif worst.grip >= Grip.LET_END:
        failed(turn, host, record, f"{line}, but: {worst.text}")
    else:
        enter(turn, host.id, replace(record, held_back=0), Health.SUSPECT, f"{line}, but: {worst.text}")


def failed(turn: Turn, host: Host, record: GpuHealth, reason: str, grip: Grip = Grip.LET_END) -> None:
    """It is quarantined again, and longer. One that was in service before is fenced, if the breaker lets it be."""
    if record.resumes is not Health.QUARANTINED:
        fence(turn, host, replace(record, awaited=()), grip, reason)
        return
    failures = record.failures + 1
    due_at = 0.0 if record.manual else turn.at.served + rest(failures)
    again = replace(record, failures=failures, awaited=(), test_since=due_at)
    enter(turn, host.id, again, Health.QUARANTINED, reason)


def unanswered(turn: Turn, host: Host, record: GpuHealth) -> None:
    """The agent did not say in time what came of it: the GPU is what it was before."""
    reason = f"test {record.test} was not answered within {LONGEST / 60:.0f} minutes"
    if record.resumes is Health.QUARANTINED:
        failed(turn, host, record, reason)
    else:
        enter(turn, host.id, replace(record, awaited=()), record.resumes, reason)
