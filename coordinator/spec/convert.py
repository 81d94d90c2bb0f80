"""From checked fields to the job specification."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from coordinator.core.matrix import Matrix
from coordinator.core.spec import HostFilter, JobSpec, RegistryAuth
from coordinator.spec.model import TaskFields
from coordinator.spec.problems import ValuePath

Environments = Mapping[ValuePath, Mapping[str, str]]
"""Variables by the path of their part: ``()`` is the job, ``("variants", 0)`` its first variant."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What is read apart from the fields: the program of a command line, variables, the values of nodes, a password."""

    argv: tuple[str, ...]
    env: Environments
    matrix: Matrix | None
    registry_auth: RegistryAuth | None = None

    def env_of(self, *path: str | int) -> Mapping[str, str]:
        """The variables of a part."""
        return MappingProxyType(dict(self.env.get(path, {})))


def job_spec(fields: TaskFields, parts: Parts) -> JobSpec:
    """The specification of a job."""
    policy = fields.utilization_policy
    return JobSpec(
        name=fields.name,
        nodes=_nodes(fields, parts.matrix),
        placement=fields.placement,
        commands=fields.commands if not parts.argv else (),
        argv=parts.argv,
        shell=fields.shell,
        env=parts.env_of(),
        working_dir=fields.working_dir,
        resources=fields.resources.needed(),
        max_duration=fields.max_duration,
        stop_duration=fields.stop_duration,
        stop_signal=fields.stop_signal,
        stop_criteria=fields.stop_criteria,
        retry=fields.retry.policy() if fields.retry is not None else None,
        on_node_failure=fields.on_node_failure,
        spread=fields.spread,
        priority=fields.priority,
        redundancy=fields.redundancy,
        spares=fields.spares,
        on_disconnect=fields.on_disconnect.rule(),
        where=_where(fields),
        optimize=fields.optimize,
        near=fields.near,
        variants=tuple(
            each.variant(at, fields.resources, parts.env_of("variants", at)) for at, each in enumerate(fields.variants)
        ),
        groups=tuple(
            each.group(at, fields.resources, parts.env_of("groups", at)) for at, each in enumerate(fields.groups)
        ),
        startup_order=fields.startup_order,
        matrix=parts.matrix,
        max_running=_max_running(fields),
        after=tuple(each.dependency() for each in fields.after),
        schedule=fields.schedule,
        preemptible=fields.preemptible,
        budget=fields.budget,
        utilization=policy.policy() if policy is not None else None,
        image=fields.image,
        registry_auth=parts.registry_auth,
        entrypoint=fields.entrypoint if not parts.argv else None,
        privileged=fields.privileged,
        python=fields.python,
        user=fields.user,
        preflight=fields.preflight.policy() if fields.preflight is not None else None,
    )


def _nodes(fields: TaskFields, matrix: Matrix | None) -> int:
    """What is written counts: whether it agrees with the rest is checked afterwards."""
    if fields.nodes is not None:
        return fields.nodes
    if matrix is not None:
        return len(matrix)
    return sum(group.nodes for group in fields.groups) or 1


def _max_running(fields: TaskFields) -> int | None:
    if fields.max_running is not None or fields.array is None:
        return fields.max_running
    return fields.array.max_running


def _where(fields: TaskFields) -> HostFilter:
    return HostFilter(
        backends=fields.backends,
        regions=fields.regions,
        instance_types=fields.instance_types,
        fleets=fields.fleets,
        hosts=fields.hosts,
        labels=fields.labels,
        max_price=fields.max_price,
        spot=fields.spot_policy,
    )
