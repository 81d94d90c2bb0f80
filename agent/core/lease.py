"""Self-fencing: a host may go on working only as long as its coordinator may believe that it does."""

from __future__ import annotations

from dataclasses import dataclass

ENDED_REASON = "the host was out of contact with its coordinator for longer than its lease"


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to go on until ``until`` (monotonic seconds); ``grace`` is what stopping may take after that."""

    until: float
    grace: float


def renewed(lease: Lease | None, sent_at: float, seconds: float, grace: float) -> Lease:
    """The lease after a report was answered; it counts from the *sending*, since only that came before the answer.

    A late answer never shortens what a newer one has given.
    """
    until = sent_at + seconds
    if lease is not None and lease.until > until:
        return lease
    return Lease(until, grace)


def expired(lease: Lease, now: float) -> bool:
    """Whether all work must be stopped."""
    return now >= lease.until
