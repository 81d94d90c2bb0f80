"""Whether an end is tried again, and when. The class of the failure decides, and each class has its own budget."""

from __future__ import annotations

import zlib

from coordinator.core.ids import tries
from coordinator.core.model import EndCause, Job, Node
from coordinator.core.spec import JobSpec, OnNodeFailure, RetryEvent

# Without a policy of the user's: so many attempts of one node, or generations of one gang, may be lost to hosts before
# the job is given up. A program that takes its hosts down with it must not walk through the whole fleet.
MAX_HOST_FAILURES = 3
# The same for the program's own failures, where `on_node_failure: retry` asks for it without a policy.
MAX_ERRORS = 3
# Seconds before a failed program is tried again: doubled each time, up to the longest, and spread by a quarter.
FIRST_DELAY = 1.0
LONGEST_DELAY = 60.0

_INTERRUPTIONS = (EndCause.HOST, EndCause.UNREACHABLE)
_ERRORS = (EndCause.EXIT, EndCause.OUT_OF_MEMORY, EndCause.START_FAILED)


def event_of(cause: EndCause | None) -> RetryEvent | None:
    """The class of a failure; None for an end that nobody wants again (stopped, or longer than it may run)."""
    if cause in _INTERRUPTIONS:
        return RetryEvent.INTERRUPTION
    return RetryEvent.ERROR if cause in _ERRORS else None


def may_retry_node(spec: JobSpec, node: Node, cause: EndCause | None, now: float) -> bool:
    """Whether a node of an ``any`` job whose attempt failed so is tried again. ``now``: served time of the failure."""
    event = event_of(cause)
    if spec.retry is not None and spec.on_node_failure is not OnNodeFailure.FAIL:
        return event is not None and _allowed(
            spec, event, tries(node.last_attempt, node.retried_from) - node.preempted, node.failing_since, now
        )
    if event is RetryEvent.INTERRUPTION:
        return node.host_failures < MAX_HOST_FAILURES - 1
    asked = spec.on_node_failure is OnNodeFailure.RETRY
    return asked and event is RetryEvent.ERROR and node.errors < MAX_ERRORS - 1


def may_retry_gang(job: Job, cause: EndCause | None, now: float) -> bool:
    """Whether a gang that lost a member so is formed anew. ``now``: served time of the failure.

    An unreachable peer costs no budget: the broken link is known from then on and no group is formed over it.
    """
    event = event_of(cause)
    if cause is EndCause.UNREACHABLE:
        return True
    if job.spec.retry is not None:
        return event is not None and _allowed(
            job.spec, event, tries(job.generation, job.retried_from) - job.preempted, job.failing_since, now
        )
    return event is RetryEvent.INTERRUPTION and job.host_failures < MAX_HOST_FAILURES - 1


def delay(errors: int, cause: EndCause | None, who: str) -> float:
    """Seconds until the next try after ``errors`` failures of the program; none after a host's failure.

    ``who`` spreads nodes that failed together, always the same way, so that a history can be replayed.
    """
    if event_of(cause) is not RetryEvent.ERROR:
        return 0.0
    spread = 0.75 + (zlib.crc32(f"{who}/{errors}".encode()) % 1000) / 2000
    return float(min(LONGEST_DELAY, FIRST_DELAY * 2.0 ** min(max(0, errors - 1), 16)) * spread)


def _allowed(spec: JobSpec, event: RetryEvent, tried: int, since: float, now: float) -> bool:
    policy = spec.retry
    assert policy is not None
    if event not in policy.on_events:
        return False
    if policy.attempts is not None and tried >= policy.attempts:
        return False
    return policy.duration is None or not since or now - since <= policy.duration
