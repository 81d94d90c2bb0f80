"""What a host holds its nodes to, and whom they may run as, between the core's records and protobuf."""

from __future__ import annotations

from rallypoint.v1 import types_pb2 as pb

from coordinator.core.hardware import NodeLimit, NodeLimits, UserPolicy

# Of what an agent lists, so much is kept.
_MOST_USERS = 256


def limits_to_proto(limits: NodeLimits) -> pb.NodeLimits:
    """What holds nodes to what they may use."""
    return pb.NodeLimits(
        cpu=_limit_to_proto(limits.cpu),
        memory=_limit_to_proto(limits.memory),
        pids=_limit_to_proto(limits.pids),
        shm=_limit_to_proto(limits.shm),
    )


def limits_from_proto(message: pb.NodeLimits) -> NodeLimits:
    """What holds nodes to what they may use."""
    return NodeLimits(_limit(message.cpu), _limit(message.memory), _limit(message.pids), _limit(message.shm))


def _limit_to_proto(limit: NodeLimit) -> pb.NodeLimit:
    return pb.NodeLimit(by=limit.by, unheld=limit.unheld)


def _limit(message: pb.NodeLimit) -> NodeLimit:
    return NodeLimit(message.by, message.unheld)


def users_to_proto(policy: UserPolicy) -> pb.UserPolicy:
    """Whom nodes may run as."""
    return pb.UserPolicy(default_user=policy.default, allowed=policy.allowed, reason=policy.reason)


def users_from_proto(message: pb.UserPolicy) -> UserPolicy:
    """Whom nodes may run as."""
    return UserPolicy(message.default_user, tuple(message.allowed[:_MOST_USERS]), message.reason)
