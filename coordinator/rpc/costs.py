"""Spending as users are told of it."""

from __future__ import annotations

from rallypoint.v1 import job_service_pb2 as pb

from coordinator.core.errors import Invalid
from coordinator.core.ids import JobId
from coordinator.core.ledger import By, Spending, spending
from coordinator.core.state import State

_BY = {pb.CostsBy.Value(f"COSTS_BY_{by.name}"): by for by in By}


def costs_to_proto(state: State, request: pb.GetCostsRequest) -> pb.GetCostsResponse:
    """What was spent, as asked for, and its sum. Raises Invalid for a kind of sum that this release does not know."""
    by = _BY.get(request.by)
    if by is None:
        known = ", ".join(kind.value for kind in By)
        raise Invalid(f"costs are added up by one of {known}, not by {request.by}; upgrade the coordinator, or choose")
    found = spending(state, by, request.since, request.user)
    total = pb.Spending(usd=sum(each.usd for each in found))
    if by is not By.JOB:
        total.gpu_seconds = sum(each.gpu_seconds for each in found)
        total.cpu_seconds = sum(each.cpu_seconds for each in found)
        total.attempts = sum(each.attempts for each in found)
    return pb.GetCostsResponse(costs=[_message(state, by, each) for each in found], total=total)


def _message(state: State, by: By, each: Spending) -> pb.Spending:
    if by is By.JOB:
        job = state.jobs[JobId(each.name)]
        return pb.Spending(name=each.name, usd=each.usd, job_name=job.name, user=job.user)
    return pb.Spending(
        name=each.name,
        usd=each.usd,
        gpu_seconds=each.gpu_seconds,
        cpu_seconds=each.cpu_seconds,
        attempts=each.attempts,
    )
