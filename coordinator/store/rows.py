"""Records as rows, in the order of their table's columns, and rows as records."""

from __future__ import annotations

from typing import Any

from coordinator.access.tokens import JoinToken
from coordinator.access.users import User
from coordinator.core.costs import LedgerEntry
from coordinator.core.health_records import HostEvent, HostHealth
from coordinator.core.model import (
    Allocation,
    EndCause,
    Gang,
    GangPhase,
    Host,
    HostState,
    Job,
    JobState,
    Node,
    NodeState,
    Phase,
)
from coordinator.core.rollout import HostUpgrade, Rollout, RolloutState, Step
from coordinator.store.codec import (
    FACTS,
    GROUP,
    HARDWARE,
    HEALTH,
    PEER,
    PREFLIGHT,
    map_from_column,
    map_to_column,
    texts_from_column,
    texts_to_column,
)
from coordinator.store.spec_form import SPEC

Values = tuple[Any, ...]


def job_row(job: Job) -> Values:
    """A new job, with its specification."""
    submitted = (job.id, job.number, job.name, job.user, job.request_id, SPEC.dumps(job.spec), job.submitted_at)
    return (*submitted, *job_progress(job))


def job_progress(job: Job) -> Values:
    """The columns of a job that change after it was accepted."""
    return (
        job.state.value,
        job.reason,
        job.exit_code,
        job.generation,
        job.host_failures,
        job.errors,
        job.failing_since,
        job.started_at,
        job.ended_at,
        job.version,
        texts_to_column(job.avoids),
        job.spares_taken,
        job.waiting_since,
        job.spent,
        job.starts_at,
        job.retried_from,
        job.preempted,
        None if job.preflight is None else PREFLIGHT.dumps(job.preflight),
    )


def read_job(row: Any) -> Job:
    """The job of one row of ``jobs``."""
    values = {
        **row,
        "spec": SPEC.loads(row["spec"]),
        "state": JobState(row["state"]),
        "avoids": texts_from_column(row["avoids"]),
        "preflight": None if row["preflight"] is None else PREFLIGHT.loads(row["preflight"]),
    }
    return Job(**values)


def node_row(node: Node) -> Values:
    """A node."""
    return (
        node.job_id,
        node.rank,
        node.state.value,
        node.attempt,
        node.host_id,
        node.exit_code,
        None if node.cause is None else node.cause.value,
        node.reason,
        texts_to_column(node.gpus),
        node.address,
        node.started_at,
        node.ended_at,
        node.log_bytes,
        node.host_failures,
        node.errors,
        node.failing_since,
        node.latest_attempt,
        node.copies_failed,
        node.failed_host_id,
        node.variant,
        node.retried_from,
        node.preempted,
        node.left_host_id,
    )


def read_node(row: Any) -> Node:
    """The node of one row of ``nodes``."""
    values = {
        **row,
        "state": NodeState(row["state"]),
        "cause": None if row["cause"] is None else EndCause(row["cause"]),
        "gpus": texts_from_column(row["gpus"]),
    }
    return Node(**values)


def allocation_row(held: Allocation) -> Values:
    """An allocation."""
    return (
        held.id,
        held.job_id,
        held.rank,
        held.attempt,
        held.host_id,
        held.cpus,
        held.memory_bytes,
        texts_to_column(held.gpus),
        held.wanted.value,
        held.observed.value,
        held.started_at,
        held.address,
        held.master_port,
        held.stop_reason,
        held.stop_grace,
        held.stop_signal,
        held.variant,
        held.share,
        held.price,
        held.held_since,
        held.ready,
        held.behind,
        held.preempted_by,
    )


def read_allocation(row: Any) -> Allocation:
    """The allocation of one row of ``allocations``."""
    values = {
        **row,
        "gpus": texts_from_column(row["gpus"]),
        "wanted": Phase(row["wanted"]),
        "observed": Phase(row["observed"]),
    }
    return Allocation(**values)


def gang_row(gang: Gang) -> Values:
    """A gang."""
    return (
        gang.job_id,
        gang.generation,
        gang.phase.value,
        gang.network,
        None if gang.group is None else GROUP.dumps(gang.group),
        gang.reason,
        gang.exit_code,
        gang.retry,
    )


def read_gang(row: Any) -> Gang:
    """The gang of one row of ``gangs``."""
    values = dict(row)
    formed = values.pop("formed")
    values["group"] = None if formed is None else GROUP.loads(formed)
    values["phase"] = GangPhase(values["phase"])
    return Gang(**values)


def host_row(host: Host) -> Values:
    """A host."""
    return (
        host.id,
        host.name,
        FACTS.dumps(host.facts),
        host.joined_at,
        host.machine_id,
        None if host.hardware is None else HARDWARE.dumps(host.hardware),
        PEER.dumps(host.peer),
        host.state.value,
        host.cordoned,
        host.epoch,
        host.agent_version,
        host.last_seen_at,
        host.drained,
        host.vacate_at,
        host.build,
        host.vacates_for,
    )


def read_host(row: Any) -> Host:
    """The host of one row of ``hosts``."""
    values = {
        **row,
        "facts": FACTS.loads(row["facts"]),
        "hardware": None if row["hardware"] is None else HARDWARE.loads(row["hardware"]),
        "peer": PEER.loads(row["peer"]),
        "state": HostState(row["state"]),
    }
    return Host(**values)


def cost_row(entry: LedgerEntry) -> Values:
    """An entry of the ledger."""
    went_for = (entry.gpu_seconds, entry.cpu_seconds, entry.attempts)
    return (entry.day, entry.user, entry.backend, entry.usd, *went_for)


def read_cost(row: Any) -> LedgerEntry:
    """The entry of one row of ``costs``."""
    return LedgerEntry(**row)


def rollout_row(rollout: Rollout) -> Values:
    """An upgrade of hosts."""
    return (
        rollout.number,
        rollout.version,
        rollout.build,
        rollout.sha256,
        rollout.size,
        rollout.batch,
        rollout.max_failures,
        rollout.install_seconds,
        rollout.user,
        rollout.started_at,
        rollout.state.value,
        rollout.reason,
        rollout.ended_at,
    )


def read_rollout(row: Any) -> Rollout:
    """The upgrade of one row of ``rollouts``."""
    return Rollout(**{**row, "state": RolloutState(row["state"])})


def host_upgrade_row(upgrade: HostUpgrade) -> Values:
    """A host's part in an upgrade."""
    return (
        upgrade.host_id,
        upgrade.rollout,
        upgrade.place,
        upgrade.step.value,
        upgrade.reason,
        upgrade.from_build,
        upgrade.due_since,
        upgrade.changed_at,
    )


def read_host_upgrade(row: Any) -> HostUpgrade:
    """The part of one row of ``host_upgrades``."""
    return HostUpgrade(**{**row, "step": Step(row["step"])})


def health_row(health: HostHealth) -> Values:
    """What is known of the health of one host's GPUs."""
    return (health.host_id, HEALTH.dumps(health))


def read_health(row: Any) -> HostHealth:
    """The health of one row of ``host_health``."""
    return HEALTH.loads(row["health"])


def event_row(event: HostEvent) -> Values:
    """Something that happened to a host."""
    about = (event.host_id, event.host, event.kind, event.text, event.gpu, event.evidence)
    return (event.number, event.at, *about)


def read_event(row: Any) -> HostEvent:
    """The event of one row of ``host_events``."""
    return HostEvent(**row)


def token_row(token: JoinToken) -> Values:
    """A join token: its secret's hash, never the secret."""
    return (
        token.id,
        token.secret_hash,
        token.created_at,
        token.expires_at,
        token.uses_left,
        map_to_column(token.labels),
        token.created_by,
        token.revoked,
    )


def read_token(row: Any) -> JoinToken:
    """The token of one row of ``join_tokens``."""
    return JoinToken(**{**row, "labels": map_from_column(row["labels"])})


def user_row(user: User) -> Values:
    """A user: the token's hash, never the token."""
    return (user.name, user.role, user.token_hash, user.created_at)


def read_user(row: Any) -> User:
    """The user of one row of ``users``."""
    return User(**row)
