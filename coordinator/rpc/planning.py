"""Plans and explanations as users are told of them: what each host could give to a job, and what that would cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from rallypoint.v1 import job_service_pb2 as pb

from coordinator import snapshots
from coordinator.core import (
    absence,
    backends,
    budgets,
    explain,
    held_back,
    nearness,
    network,
    remedies,
    runtimes,
    soonest,
    trial,
    waits,
)
from coordinator.core.ids import HostId
from coordinator.core.jobs import with_ids
from coordinator.core.model import Job
from coordinator.core.spares import is_spare
from coordinator.core.spec import JobSpec, Placement
from coordinator.core.state import State
from coordinator.core.words import usd
from coordinator.rpc.convert import job_to_proto, network_to_proto, offer_to_proto


def plan_to_proto(state: State, spec: JobSpec, user: str) -> pb.PlanJobResponse:
    """What would become of a job of this user if it were submitted now. Raises Invalid and NotFound."""
    absence.check(state.timing, spec)
    spec = with_ids(state, spec)
    withheld = waits.ahead(state, spec)
    tried = trial.plan(state, spec, user)
    impossible = explain.impossible(state, spec)
    placed = 0 if withheld else tried.placed
    hosts = ""
    if not impossible and tried.placed < spec.nodes:
        hosts = explain.waiting_for(state, spec) or held_back.waiting(state, spec)
    answer = pb.PlanJobResponse(
        offers=_offers(
            state, spec, explain.offers(state, spec), Counter(allocation.host_id for allocation in tried.nodes)
        ),
        nodes_placed=placed,
        waiting_for="; ".join(words for words in (withheld, hosts, backends.few(state, spec)) if words),
        impossible=impossible,
        undecided=bool(impossible) and runtimes.undecided(state.hosts.values(), runtimes.Runs.of(spec)),
        spare_hosts=[state.hosts[spare.host_id].name for spare in tried.spares],
        links=_links(state, spec, tried),
    )
    _add_prices(state, spec, tried, answer)
    return answer


def _links(state: State, spec: JobSpec, tried: trial.Trial) -> str:
    formed = spec.placement is Placement.CLUSTER
    return network.describe_group(state, [allocation.host_id for allocation in tried.nodes]) if formed else ""


def _add_prices(state: State, spec: JobSpec, tried: trial.Trial, answer: pb.PlanJobResponse) -> None:
    held = (state.hosts[allocation.host_id] for allocation in (*tried.nodes, *tried.spares))
    if any(host.facts.price_per_hour is not None for host in held):
        answer.price_per_hour = tried.price
        until_done = tried.until_done()
        if until_done is not None:
            answer.price_until_done, answer.price_basis = until_done, "by max_duration, at most"
    fits = [HostId(offer.host_id) for offer in answer.offers if offer.nodes_ever]
    warning = budgets.unreachable(state, spec.budget, fits)
    if not warning and spec.budget is not None and answer.price_until_done > spec.budget:
        warning = f"its budget of {usd(spec.budget)} may be spent before it is done"
    answer.warnings.extend([warning] if warning else [])


def explanation_to_proto(state: State, job: Job) -> pb.ExplainJobResponse:
    """Why the job is where it is."""
    # Where an ended job could run now is not what it was about.
    found = () if job.state.ended else explain.offers(state, job.spec, job)
    answer = pb.ExplainJobResponse(
        job=job_to_proto(snapshots.job_view(state, job)),
        summary=explain.summary(state, job),
        offers=_offers(state, job.spec, found, _held(state, job), paced=job.id in state.paces),
        networks=[network_to_proto(view) for view in snapshots.networks(state)],
    )
    if not _waits(state, job):
        return answer
    answer.nearest = remedies.nearest(state, job.spec) or explain.nearest(found)
    expected = soonest.expected_start(state, job)
    if expected is not None:
        answer.starts_in_seconds, answer.start_is_estimated = expected
    return answer


def _waits(state: State, job: Job) -> bool:
    """Whether there is anything of the job that room could be found for, and none is."""
    return not job.state.ended and bool(state.pending[job.id]) and job.id not in state.withheld


def _offers(
    state: State, spec: JobSpec, found: Sequence[explain.Offer], chosen: Mapping[HostId, int], *, paced: bool = False
) -> list[pb.Offer]:
    """``paced``: how long the job's nodes take is known from those that ended."""
    membership = {member: seen.name for seen in network.networks(state) for member in seen.members}
    offers = []
    for offer in found:
        host = offer.host.id
        chosen_here = replace(offer, chosen=chosen.get(host, 0))
        message = offer_to_proto(chosen_here, membership.get(host, ""), state.usage[host])
        if not offer.nodes_now:
            remedy = remedies.of_host(state, offer.host, spec)
            message.remedy = "" if remedy is None else remedy.words
        if message.HasField("score") and spec.max_duration is None and not paced:
            # What it is compared by then is an hour for all: nothing that anybody should be told.
            message.score.ClearField("hours")
        message.near_problem = nearness.failure(state, host, spec.near) if spec.near is not None else ""
        offers.append(message)
    return offers


def _held(state: State, job: Job) -> Counter[HostId]:
    held = (state.allocations[allocation_id] for allocation_id in state.job_allocations[job.id])
    return Counter(allocation.host_id for allocation in held if not is_spare(job.spec, allocation))
