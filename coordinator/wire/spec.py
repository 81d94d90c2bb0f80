"""``JobSpec`` as the API carries it, both ways. What comes in is checked as a task file is: any client may send it."""

from __future__ import annotations

import re

from rallypoint.v1 import types_pb2 as pb

from coordinator.core.errors import Invalid
from coordinator.core.spec import (
    MAX_NODES,
    MAX_PRIORITY,
    MAX_REDUNDANCY,
    MAX_SPARES,
    DisconnectAction,
    FileArchive,
    JobSpec,
    OnDisconnect,
    OnNodeFailure,
    Optimize,
    Placement,
    RegistryAuth,
    RetryEvent,
    RetryPolicy,
    Spread,
    StartupOrder,
    StopCriteria,
)
from coordinator.spec import container, rules
from coordinator.spec.problems import Wrong
from coordinator.spec.references import reference_problems
from coordinator.wire.checks import amount, argv_of, at_most, commands_of, env_of, known, seconds
from coordinator.wire.choice import (
    group_to_pb,
    groups_from_pb,
    variant_to_pb,
    variants_from_pb,
    where_from_pb,
    where_to_pb,
)
from coordinator.wire.many import (
    dependency_from_pb,
    dependency_to_pb,
    matrix_from_pb,
    matrix_to_pb,
    preflight_from_pb,
    preflight_to_pb,
    utilization_from_pb,
)
from coordinator.wire.resources import resources_from_pb, resources_to_pb

_PLACEMENTS = {each: pb.Placement.Value(f"PLACEMENT_{each.name}") for each in Placement}
_STOP_CRITERIA = {each: pb.StopCriteria.Value(f"STOP_CRITERIA_{each.name}") for each in StopCriteria}
_EVENTS = {each: pb.RetryEvent.Value(f"RETRY_EVENT_{each.name}") for each in RetryEvent}
_ON_NODE_FAILURE = {each: pb.OnNodeFailure.Value(f"ON_NODE_FAILURE_{each.name}") for each in OnNodeFailure}
_ON_DISCONNECT = {each: pb.DisconnectAction.Value(f"DISCONNECT_ACTION_{each.name}") for each in DisconnectAction}
_SPREADS = {each: pb.Spread.Value(f"SPREAD_{each.name}") for each in Spread}
_OPTIMIZE = {each: pb.Optimize.Value(f"OPTIMIZE_{each.name}") for each in Optimize}
_STARTUP = {each: pb.StartupOrder.Value(f"STARTUP_ORDER_{each.name}") for each in StartupOrder}

_SHA256 = re.compile(r"[0-9a-f]{64}")
_MAX_USD = 1e9


# ---------------------------------------------------------------- out


def spec_to_pb(spec: JobSpec) -> pb.JobSpec:
    """The message for a specification."""
    message = pb.JobSpec(
        name=spec.name or "",
        nodes=spec.nodes,
        placement=_PLACEMENTS[spec.placement],
        commands=spec.commands,
        argv=spec.argv,
        shell=spec.shell or "",
        env=dict(spec.env),
        working_dir=spec.working_dir or "",
        resources=resources_to_pb(spec.resources),
        max_duration_seconds=spec.max_duration,
        stop_duration_seconds=spec.stop_duration,
        stop_signal=spec.stop_signal or "",
        stop_criteria=_STOP_CRITERIA[spec.stop_criteria],
        on_node_failure=_ON_NODE_FAILURE[spec.on_node_failure],
        spread=_SPREADS[spec.spread],
        priority=spec.priority,
        redundancy=spec.redundancy,
        spares=spec.spares,
        on_disconnect=pb.OnDisconnect(
            action=_ON_DISCONNECT[spec.on_disconnect.action], after_seconds=spec.on_disconnect.after
        ),
        where=where_to_pb(spec.where),
        optimize=_OPTIMIZE[spec.optimize],
        near=spec.near or "",
        variants=[variant_to_pb(variant) for variant in spec.variants],
        groups=[group_to_pb(group) for group in spec.groups],
        startup_order=_STARTUP[spec.startup_order],
        matrix=None if spec.matrix is None else matrix_to_pb(spec.matrix),
        max_running=spec.max_running or 0,
        after=[dependency_to_pb(each) for each in spec.after],
        schedule=spec.schedule or "",
        preemptible=spec.preemptible,
        budget=spec.budget,
        image=spec.image or "",
        entrypoint=spec.entrypoint or "",
        privileged=spec.privileged,
        python=spec.python or "",
        user=spec.user or "",
    )
    if spec.registry_auth is not None:
        message.registry_auth.username = spec.registry_auth.username
        message.registry_auth.password = spec.registry_auth.password
    if spec.utilization is not None:
        policy = spec.utilization
        message.utilization.CopyFrom(
            pb.UtilizationPolicy(min_gpu_percent=policy.min_gpu_percent, window_seconds=policy.window)
        )
    if spec.preflight is not None:
        message.preflight.CopyFrom(preflight_to_pb(spec.preflight))
    if spec.retry is not None:
        message.retry.CopyFrom(_retry_to_pb(spec.retry))
    if spec.files is not None:
        message.files.CopyFrom(pb.FileArchive(sha256=spec.files.sha256, size_bytes=spec.files.size_bytes))
    return message


def _retry_to_pb(policy: RetryPolicy) -> pb.RetryPolicy:
    return pb.RetryPolicy(
        on_events=sorted(_EVENTS[event] for event in policy.on_events),
        duration_seconds=policy.duration,
        attempts=policy.attempts or 0,
    )


# ---------------------------------------------------------------- in


def spec_from_pb(message: pb.JobSpec) -> JobSpec:
    """The specification in a message. Raises ``coordinator.core.errors.Invalid`` with what is wrong in it."""
    try:
        return _read(message)
    except Wrong as wrong:
        raise Invalid(str(wrong)) from None


def _read(message: pb.JobSpec) -> JobSpec:
    if not 1 <= message.nodes <= MAX_NODES:
        raise Wrong(f"nodes {message.nodes} can't be had; a job has 1 to {MAX_NODES} nodes; choose a number in between")
    _check_program(message)
    _check_size(message)
    spec = JobSpec(
        name=rules.check_name(message.name) if message.name else None,
        nodes=message.nodes,
        placement=known("placement", message.placement, _PLACEMENTS, Placement.CLUSTER),
        commands=commands_of(message.commands),
        argv=argv_of(message.argv),
        shell=rules.check_shell(message.shell) if message.shell else None,
        env=env_of(message.env),
        working_dir=rules.check_text("working_dir", message.working_dir) or None,
        resources=resources_from_pb(message.resources),
        max_duration=seconds(message, "max_duration_seconds", positive=True),
        stop_duration=seconds(message, "stop_duration_seconds", positive=False),
        stop_signal=rules.check_signal(message.stop_signal) if message.stop_signal else None,
        stop_criteria=known("stop_criteria", message.stop_criteria, _STOP_CRITERIA, StopCriteria.ALL_DONE),
        files=_archive(message.files) if message.HasField("files") else None,
        retry=_retry(message.retry) if message.HasField("retry") else None,
        on_node_failure=known("on_node_failure", message.on_node_failure, _ON_NODE_FAILURE, OnNodeFailure.GO_ON),
        spread=known("spread", message.spread, _SPREADS, Spread.HOST),
        priority=at_most("priority", message.priority, MAX_PRIORITY),
        redundancy=max(1, at_most("redundancy", message.redundancy, MAX_REDUNDANCY)),
        spares=at_most("spares", message.spares, MAX_SPARES),
        on_disconnect=_on_disconnect(message.on_disconnect),
        where=where_from_pb(message.where),
        optimize=known("optimize", message.optimize, _OPTIMIZE, Optimize.COST),
        near=rules.check_near(message.near) if message.near else None,
        variants=variants_from_pb(message.variants),
        groups=groups_from_pb(message.groups),
        startup_order=known("startup_order", message.startup_order, _STARTUP, StartupOrder.ANY),
        matrix=matrix_from_pb(message.matrix) if message.HasField("matrix") else None,
        max_running=message.max_running or None,
        after=tuple(dependency_from_pb(each) for each in message.after),
        schedule=rules.check_schedule(message.schedule) if message.schedule else None,
        preemptible=message.preemptible,
        budget=amount(message, "budget", "a billion", _MAX_USD, positive=True),
        utilization=utilization_from_pb(message.utilization) if message.HasField("utilization") else None,
        image=container.check_image(message.image) if message.image else None,
        registry_auth=_registry_auth(message.registry_auth) if message.HasField("registry_auth") else None,
        entrypoint=container.check_entrypoint(message.entrypoint) if message.entrypoint else None,
        privileged=message.privileged,
        python=container.check_python(message.python) if message.python else None,
        user=rules.check_user(message.user) if message.user else None,
        preflight=preflight_from_pb(message.preflight) if message.HasField("preflight") else None,
    )
    for _, problem in (*rules.contradictions(spec), *reference_problems(spec)):
        raise Wrong(problem)
    return spec


def _check_program(message: pb.JobSpec) -> None:
    parts = [bool(each.commands or each.argv) for each in message.variants] + [bool(g.commands) for g in message.groups]
    in_parts = bool(parts) and all(parts)
    has_one = message.commands or message.argv or message.image or in_parts
    if (message.commands and message.argv) or not has_one:
        raise Wrong("exactly one of commands and argv must be given; a job runs either a shell or a program; send one")


def _registry_auth(message: pb.RegistryAuth) -> RegistryAuth:
    return container.check_registry_auth(RegistryAuth(message.username, message.password))


def _retry(message: pb.RetryPolicy) -> RetryPolicy:
    return RetryPolicy(
        on_events=frozenset(known("retry event", event, _EVENTS) for event in message.on_events),
        duration=seconds(message, "duration_seconds", positive=True),
        attempts=message.attempts or None,
    )


def _on_disconnect(message: pb.OnDisconnect) -> OnDisconnect:
    action = known("on_disconnect", message.action, _ON_DISCONNECT, DisconnectAction.STOP)
    return OnDisconnect(action, seconds(message, "after_seconds", positive=True))


def _check_size(message: pb.JobSpec) -> None:
    # The values of nodes have a limit of their own: see rules.contradictions.
    length = message.ByteSize() - message.matrix.ByteSize()
    if length > rules.MAX_SPEC_BYTES:
        raise Wrong(
            f"the job's text has {length} bytes; at most {rules.MAX_SPEC_BYTES} are taken;"
            " put long scripts into files and send them with 'files'"
        )


def _archive(message: pb.FileArchive) -> FileArchive:
    if not _SHA256.fullmatch(message.sha256) or message.size_bytes < 0:
        raise Wrong("files names no archive; it needs the sha256 and size that UploadArchive answered; upload it first")
    return FileArchive(message.sha256, message.size_bytes)
