"""What hosts have to run nodes in, as protobuf and back."""

from __future__ import annotations

from rallypoint.v1 import types_pb2 as pb

from coordinator.core.hardware import Containers


def containers_to_proto(found: Containers) -> pb.Containers:
    """What runs containers on a host."""
    return pb.Containers(
        runtime=found.runtime,
        version=found.version,
        rootless=found.rootless,
        gpus=found.gpus,
        privileged=found.privileged,
        limits=found.limits,
        problem=found.problem,
        gpu_problem=found.gpu_problem,
        only_user=found.only_user,
    )


def containers_from_proto(message: pb.Containers) -> Containers:
    """What runs containers on a host, as its agent says."""
    return Containers(
        runtime=message.runtime,
        version=message.version,
        rootless=message.rootless,
        gpus=message.gpus,
        privileged=message.privileged,
        limits=tuple(message.limits),
        problem=message.problem,
        gpu_problem=message.gpu_problem,
        only_user=message.only_user,
    )
