"""Views and orders to protobuf, and agents' messages to records. Specifications: see ``coordinator.wire``."""

from __future__ import annotations

from math import isfinite

from rallypoint.v1 import access_service_pb2 as access_pb
from rallypoint.v1 import job_service_pb2 as job_pb
from rallypoint.v1 import types_pb2 as pb

from coordinator.access.tokens import JoinToken
from coordinator.access.users import User
from coordinator.core import model
from coordinator.core.explain import Offer
from coordinator.core.hardware import Hardware
from coordinator.core.health_marks import standings
from coordinator.core.score import Terms
from coordinator.core.usage import Usage
from coordinator.paging import PAGE, NodeQuery
from coordinator.rpc.hardware import hardware_to_proto
from coordinator.rpc.health import health_to_proto
from coordinator.rpc.measured import report_to_proto
from coordinator.views import HostView, JobView, NetworkView, NodeView
from coordinator.wire import spec_to_pb

_JOB_STATE = {state: pb.JobState.Value(f"JOB_STATE_{state.name}") for state in model.JobState}
_NODE_STATE = {state: pb.NodeState.Value(f"NODE_STATE_{state.name}") for state in model.NodeState}
_HOST_STATE = {state: pb.HostState.Value(f"HOST_STATE_{state.name}") for state in model.HostState}


HIDDEN = "(hidden)"


def job_to_proto(view: JobView) -> pb.Job:
    """A job with its counts; the reason is what it waits for now. Without a long matrix: nodes have their values."""
    job, counts = view.job, view.counts
    spec = spec_to_pb(job.spec.brief())
    for env in (spec.env, *(each.env for each in spec.variants), *(each.env for each in spec.groups)):
        for name in env:
            # Often a secret; whoever may look at jobs need not see it.
            env[name] = HIDDEN
    if spec.registry_auth.password:
        spec.registry_auth.password = HIDDEN
    return pb.Job(
        id=job.id,
        name=job.name,
        user=job.user,
        state=_JOB_STATE[job.state],
        reason=view.reason,
        exit_code=job.exit_code,
        spec=spec,
        counts=pb.NodeCounts(
            pending=counts.pending,
            placed=counts.placed,
            running=counts.running,
            stopping=counts.stopping,
            done=counts.done,
            failed=counts.failed,
            stopped=counts.stopped,
        ),
        submitted_at=job.submitted_at,
        started_at=job.started_at,
        ended_at=job.ended_at,
        spare_hosts=view.spare_hosts,
        starts_at=job.starts_at,
        spent=view.spent,
        price_per_hour=view.price_per_hour,
        preflight=None if job.preflight is None else report_to_proto(job.preflight),
    )


def node_to_proto(view: NodeView) -> pb.Node:
    """A node and its host's name."""
    node = view.node
    return pb.Node(
        rank=node.rank,
        state=_NODE_STATE[node.state],
        attempt=node.attempt,
        host_id=node.host_id or "",
        host_name=view.host_name,
        exit_code=node.exit_code,
        reason=node.reason,
        gpu_uuids=node.gpus,
        started_at=node.started_at,
        ended_at=node.ended_at,
        log_bytes=node.log_bytes,
        address=node.address,
        last_attempt=node.last_attempt,
        copies=[
            pb.NodeCopy(
                attempt=copy.attempt,
                host_id=copy.host_id,
                host_name=copy.host_name,
                state=_NODE_STATE[copy.state],
                reason=copy.reason,
                started_at=copy.started_at,
            )
            for copy in view.copies
        ],
        log_dropped_bytes=view.log_dropped,
        parameters=view.parameters,
        last_line=view.last_line,
        variant=view.node.variant,
        group=view.group,
        price_per_hour=view.price_per_hour,
    )


def node_query(message: job_pb.ListNodesRequest) -> NodeQuery:
    """Which nodes are asked for. A state that this coordinator does not know is the state of none."""
    known = {number: state for state, number in _NODE_STATE.items()}
    states = frozenset(known[number] for number in message.states if number in known)
    if message.states and not states:
        return NodeQuery(limit=0)
    end = message.end_rank if message.HasField("end_rank") else None
    return NodeQuery(states, message.first_rank, end, limit=min(message.page_size or PAGE, PAGE))


def host_to_proto(view: HostView) -> pb.Host:
    """A host with what is held of it."""
    host = view.host
    message = pb.Host(
        id=host.id,
        name=host.name,
        state=_HOST_STATE[host.state],
        facts=facts_to_proto(host.facts),
        cordoned=host.cordoned,
        vacates_at=view.vacates_at,
        cpus_used=view.cpus_used,
        memory_used_bytes=view.memory_used_bytes,
        gpu_uuids_used=view.gpus_used,
        network=view.network,
        warning=view.warning,
        agent_version=host.agent_version,
        agent_build=host.build,
        gpu_health=[health_to_proto(record) for record in standings(host, view.health)],
        allocations=view.allocations,
        joined_at=host.joined_at,
        last_seen_at=host.last_seen_at,
        peer_endpoint=host.peer.text(),
        round_trip_seconds=view.round_trip,
    )
    if host.hardware is not None:
        message.hardware.CopyFrom(hardware_to_proto(host.hardware))
    return message


def network_to_proto(view: NetworkView) -> pb.Network:
    """A network with its broken links."""
    return pb.Network(name=view.name, host_names=view.host_names, broken_links=view.broken_links)


def facts_to_proto(facts: model.HostFacts) -> pb.HostFacts:
    """An owner's facts."""
    return pb.HostFacts(
        backend=facts.backend,
        region=facts.region,
        network=facts.network or "",
        price_per_hour=facts.price_per_hour,
        labels=dict(facts.labels),
        spot=facts.spot,
        instance_type=facts.instance_type,
        fleet=facts.fleet,
        ephemeral=facts.ephemeral,
    )


def facts_from_proto(facts: pb.HostFacts) -> model.HostFacts:
    """An owner's facts, with the defaults for what was left empty."""
    return model.HostFacts(
        backend=facts.backend or "local",
        region=facts.region or "local",
        network=facts.network or None,
        price_per_hour=facts.price_per_hour if facts.HasField("price_per_hour") else None,
        labels=dict(facts.labels),
        spot=facts.spot,
        instance_type=facts.instance_type,
        fleet=facts.fleet,
        ephemeral=facts.ephemeral,
    )


def offer_to_proto(offer: Offer, network: str, usage: Usage) -> job_pb.Offer:
    """What a host could give, or why not."""
    host = offer.host
    hardware = host.hardware or Hardware()
    names = [gpu.name for gpu in hardware.gpus]
    gpus = ", ".join(f"{names.count(name)} × {name}" for name in dict.fromkeys(names))
    variant = offer.variant
    return job_pb.Offer(
        host_id=host.id,
        host_name=host.name,
        backend=host.facts.backend,
        region=host.facts.region,
        network=network,
        price_per_hour=host.facts.price_per_hour,
        nodes_now=offer.nodes_now,
        nodes_ever=offer.nodes_ever,
        gpus=gpus,
        cpus=hardware.cpus,
        memory_bytes=hardware.memory_bytes,
        rejection=offer.rejection,
        nodes_chosen=offer.chosen,
        cpus_free=max(0, hardware.cpus - usage.cpus),
        memory_free_bytes=max(0, hardware.memory_bytes - usage.memory_bytes),
        gpus_free=sum(gpu.uuid not in usage.gpus for gpu in hardware.gpus),
        variant="" if variant is None else variant.name,
        precision="" if variant is None else variant.precision,
        score=None if offer.terms is None else _score_to_proto(offer.terms),
        remedy=offer.remedy,
    )


def _score_to_proto(terms: Terms) -> job_pb.Score:
    return job_pb.Score(
        price_per_hour=terms.rate,
        hours=terms.hours,
        latency_seconds=terms.latency if isfinite(terms.latency) else None,
        held=terms.held,
        in_domain=terms.domain,
        here=terms.here,
    )


def token_to_proto(token: JoinToken) -> access_pb.JoinToken:
    """A join token without its secret."""
    return access_pb.JoinToken(
        id=token.id,
        created_at=token.created_at,
        expires_at=token.expires_at,
        uses_left=token.uses_left or 0,
        unlimited=token.uses_left is None,
        labels=dict(token.labels),
        created_by=token.created_by,
        revoked=token.revoked,
    )


def user_to_proto(user: User) -> access_pb.User:
    """A user without the token."""
    role = access_pb.Role.Value(f"ROLE_{user.role.upper()}")
    return access_pb.User(name=user.name, role=role, created_at=user.created_at)
