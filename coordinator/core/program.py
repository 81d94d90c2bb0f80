"""What one node runs and needs, where the nodes of a job are not alike: its variant, its group and its parameters, and
what is filled in for ``${{ … }}`` in its commands and environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate, islice

from coordinator.core.interpolation import fill
from coordinator.core.matrix import MatrixSource
from coordinator.core.model import Allocation, Group, Job
from coordinator.core.spec import JobSpec, NodeGroup, Resources, Variant

# The variables of nodes that have one parameter only.
_SINGLE = {MatrixSource.ARRAY: "RALLYPOINT_ARRAY_INDEX", MatrixSource.LINES: "RALLYPOINT_LINE"}


@dataclass(frozen=True, slots=True)
class Program:
    """What a node runs in place of its job's ``commands``, ``argv``, ``env`` and ``resources``.

    ``given`` are variables that are ours: the user's ``env`` wins over them.
    """

    commands: tuple[str, ...]
    argv: tuple[str, ...]
    env: Mapping[str, str]
    given: Mapping[str, str]
    resources: Resources


def is_alike(spec: JobSpec) -> bool:
    """Whether all nodes of the job run just what it says: there is no ``Program`` then."""
    return not (spec.variants or spec.groups or spec.matrix or _share(spec.resources) or _has_references(spec))


def program_of(job: Job, allocation: Allocation, group: Group | None = None) -> Program | None:
    """What the node of an allocation runs; ``group`` is the one that was formed, whose addresses it may ask for.

    None: what the job says, as it stands.
    """
    spec = job.spec
    if is_alike(spec):
        return None
    variant, (number, part) = variant_of(spec, allocation.variant), group_of(spec, allocation.rank)
    commands, argv = spec.commands, spec.argv
    env, given = dict(spec.env), dict[str, str]()
    if variant is not None:
        if variant.commands or variant.argv:
            commands, argv = variant.commands, variant.argv
        env |= variant.env
        given |= {"RALLYPOINT_VARIANT": variant.name, "RALLYPOINT_PRECISION": variant.precision}
    if part is not None:
        commands, argv = (part.commands, ()) if part.commands else (commands, argv)
        env |= part.env
        given |= _place_in_group(spec, number, part, allocation.rank)
    resources = resources_of(spec, allocation.rank, allocation.variant)
    given |= _share(resources)
    values, addresses = parameters_of(spec, allocation.rank), _addresses(spec, group)
    given |= _parameters(spec, values)
    return Program(
        commands=tuple(fill(text, values, addresses) for text in commands),
        argv=tuple(fill(text, values, addresses) for text in argv),
        env={name: fill(text, values, addresses) for name, text in env.items()},
        given=given,
        resources=resources,
    )


def resources_of(spec: JobSpec, rank: int, variant: str = "") -> Resources:
    """What the node of this rank holds, in this variant of the job."""
    chosen = variant_of(spec, variant)
    if chosen is not None:
        return chosen.resources
    part = group_of(spec, rank)[1]
    return spec.resources if part is None else part.resources


def parameters_of(spec: JobSpec, rank: int) -> dict[str, str]:
    """The values of the node's parameters by name; none for a job whose nodes have none, or a rank beyond them."""
    return spec.matrix.values(rank) if spec.matrix is not None and rank < len(spec.matrix) else {}


def variant_of(spec: JobSpec, name: str) -> Variant | None:
    """The job's variant of this name; None where there is none."""
    return next((variant for variant in spec.variants if variant.name == name), None)


def group_of(spec: JobSpec, rank: int) -> tuple[int, NodeGroup | None]:
    """The group of nodes that a rank is in, and its number; None for a job without groups, or a rank beyond them."""
    for number, (part, end) in enumerate(zip(spec.groups, accumulate(g.nodes for g in spec.groups), strict=True)):
        if rank < end:
            return number, part
    return 0, None


def sizes(spec: JobSpec) -> list[int]:
    """The numbers of nodes of the groups; a job without groups is one group."""
    return [part.nodes for part in spec.groups] or [spec.nodes]


def _place_in_group(spec: JobSpec, number: int, part: NodeGroup, rank: int) -> dict[str, str]:
    first = sum(sizes(spec)[:number])
    return {
        "RALLYPOINT_GROUP_NAME": part.name,
        "RALLYPOINT_GROUP_INDEX": str(number),
        "RALLYPOINT_GROUP_RANK": str(rank - first),
        "RALLYPOINT_GROUP_NODES": str(part.nodes),
    }


def _share(resources: Resources) -> dict[str, str]:
    """``1/2``, for a node that must keep to half of a GPU by itself: nothing else tells it."""
    share = resources.gpu.share if resources.gpu is not None else None
    return {} if share is None else {"RALLYPOINT_GPU_SHARE": f"{share[0]}/{share[1]}"}


def _parameters(spec: JobSpec, values: Mapping[str, str]) -> dict[str, str]:
    if spec.matrix is None:
        return {}
    only = _SINGLE.get(spec.matrix.source)
    return {only or f"RALLYPOINT_MATRIX_{name.upper()}": value for name, value in values.items()}


def _has_references(spec: JobSpec) -> bool:
    return any("${{" in text for text in (*spec.commands, *spec.argv, *spec.env.values()))


def _addresses(spec: JobSpec, group: Group | None) -> list[list[str]]:
    """Those of the nodes of each group; a job without groups is one group."""
    if group is None:
        return []
    members = iter(group.members)
    return [[member.address for member in islice(members, part)] for part in sizes(spec)]
