"""Typed identifiers: a function that wants a host cannot be handed a job."""

from __future__ import annotations

from typing import NewType

JobId = NewType("JobId", str)
HostId = NewType("HostId", str)
AllocationId = NewType("AllocationId", str)


# Attempts of a node are counted anew after a backup was put back, from the next multiple on.
ATTEMPTS_A_LIFE = 100_000


def tries(attempt: int, before: int = 0) -> int:
    """How often a node was tried by its attempt's number: since the coordinator's life began, and of that since the
    attempt ``before``, after which a user had it tried again."""
    since = before if before // ATTEMPTS_A_LIFE == attempt // ATTEMPTS_A_LIFE else 0
    return (attempt - since) % ATTEMPTS_A_LIFE


def job_id(number: int) -> JobId:
    """The id of the job that was accepted as the ``number``-th."""
    return JobId(f"j-{number}")


def host_id(number: int) -> HostId:
    """The id of the host that joined as the ``number``-th."""
    return HostId(f"h-{number}")


def allocation_id(job: JobId, rank: int, attempt: int) -> AllocationId:
    """Names one attempt of one node; the attempt's number in it is the fence."""
    return AllocationId(f"{job}.{rank}.{attempt}")
