"""Self-fencing: a host may go on working only as long as its coordinator may believe that it does."""

from __future__ import annotations

from dataclasses import dataclass

ENDED_REASON = "the host was out of contact with its coordinator for longer than its lease"
AFTER_REASON = "the host was out of contact with its coordinator for {0:g} s, the job's on_disconnect"


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to go on until ``until`` (monotonic seconds); ``grace`` is what stopping may take after that.

    ``since`` is the last contact, from which a job's own ``after`` counts.
    """

    until: float
    grace: float
    since: float = 0.0


def renewed(lease: Lease | None, sent_at: float, seconds: float, grace: float) -> Lease:
    """The lease after a report was answered; it counts from the *sending*, since only that came before the answer.

    A late answer never shortens what a newer one has given.
    """
    until = sent_at + seconds
    if lease is not None and lease.until > until:
        return lease
    return Lease(until, grace, sent_at)


def expired(lease: Lease, now: float) -> bool:
    """Whether nothing may begin any more, and what is not kept for longer must be stopped."""
    return now >= lease.until


def end_for(lease: Lease, after: float | None) -> float | None:
    """When a process that may outlast ``after`` seconds out of contact (None: any time) must be stopped; None: never.

    Never before the lease ends: a lease that was made longer since the job was submitted counts for it too.
    """
    return None if after is None else max(lease.until, lease.since + after)


def ended_reason(lease: Lease, after: float | None) -> str:
    """Why such a process is stopped, for the user."""
    own = after is not None and lease.since + after > lease.until
    return AFTER_REASON.format(after) if own else ENDED_REASON
