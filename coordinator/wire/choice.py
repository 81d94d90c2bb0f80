"""Which hosts a job may use, and what it runs on which, as the API carries it, both ways."""

from __future__ import annotations

from collections.abc import Iterable
from types import MappingProxyType

from rallypoint.v1 import types_pb2 as pb

from coordinator.core.spec import HostFilter, NodeGroup, SpotPolicy, Variant
from coordinator.spec import rules
from coordinator.spec.problems import Wrong
from coordinator.wire.checks import amount, argv_of, commands_of, env_of, known, texts_of
from coordinator.wire.resources import resources_from_pb, resources_to_pb

_SPOT = {each: pb.SpotPolicy.Value(f"SPOT_POLICY_{each.name}") for each in SpotPolicy}


def where_to_pb(where: HostFilter) -> pb.HostFilter:
    """The message for a filter of hosts."""
    return pb.HostFilter(
        backends=where.backends,
        regions=where.regions,
        instance_types=where.instance_types,
        fleets=where.fleets,
        hosts=where.hosts,
        labels=dict(where.labels),
        max_price=where.max_price,
        spot=_SPOT[where.spot],
    )


def where_from_pb(message: pb.HostFilter) -> HostFilter:
    """The filter in a message. Raises ``Wrong``."""
    labels = {key: rules.check_text(f"label {key}", value) for key, value in message.labels.items()}
    return HostFilter(
        backends=texts_of("a backend", message.backends),
        regions=texts_of("a region", message.regions),
        instance_types=texts_of("an instance type", message.instance_types),
        fleets=texts_of("a fleet", message.fleets),
        hosts=texts_of("a host", message.hosts),
        labels=MappingProxyType(labels),
        max_price=amount(message, "max_price", "1000000", 1e6, positive=False),
        spot=known("spot_policy", message.spot, _SPOT, SpotPolicy.AUTO),
    )


def variant_to_pb(variant: Variant) -> pb.Variant:
    """The message for a variant."""
    return pb.Variant(
        name=variant.name,
        resources=resources_to_pb(variant.resources),
        env=dict(variant.env),
        commands=variant.commands,
        argv=variant.argv,
        precision=variant.precision,
        speed=variant.speed,
    )


def variants_from_pb(messages: Iterable[pb.Variant]) -> tuple[Variant, ...]:
    """The variants in a message. Raises ``Wrong``."""
    variants = tuple(_variant(message) for message in messages)
    rules.check_different("variant", [variant.name for variant in variants])
    return variants


def _variant(message: pb.Variant) -> Variant:
    if message.commands and message.argv:
        raise Wrong("a variant has commands and argv; it runs either a shell or a program; send one")
    return Variant(
        name=rules.check_part_name("variant", message.name),
        resources=resources_from_pb(message.resources),
        env=env_of(message.env),
        commands=commands_of(message.commands),
        argv=argv_of(message.argv),
        precision=rules.check_text("precision", message.precision),
        speed=amount(message, "speed", "1000000", 1e6, positive=True),
    )


def group_to_pb(group: NodeGroup) -> pb.NodeGroup:
    """The message for a group of nodes."""
    return pb.NodeGroup(
        name=group.name,
        nodes=group.nodes,
        resources=resources_to_pb(group.resources),
        env=dict(group.env),
        commands=group.commands,
    )


def groups_from_pb(messages: Iterable[pb.NodeGroup]) -> tuple[NodeGroup, ...]:
    """The groups in a message. Raises ``Wrong``."""
    groups = tuple(_group(message) for message in messages)
    rules.check_different("group", [group.name for group in groups])
    return groups


def _group(message: pb.NodeGroup) -> NodeGroup:
    if not message.nodes:
        raise Wrong(f"group {message.name!r} has 0 nodes; a group has 1 or more; leave it out")
    return NodeGroup(
        name=rules.check_part_name("group", message.name),
        nodes=message.nodes,
        resources=resources_from_pb(message.resources),
        env=env_of(message.env),
        commands=commands_of(message.commands),
    )
