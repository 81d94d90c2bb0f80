"""What groups measure before they start, between the core's records and protobuf."""

from __future__ import annotations

from math import isfinite

from rallypoint.v1 import agent_service_pb2 as pb
from rallypoint.v1 import types_pb2

from coordinator.core.measured import Answer, DeviceSpeed, PreflightReport

# Of what an agent says, so many characters and devices are kept.
MAX_REASON = 200
MAX_DEVICES = 64


def report_to_proto(report: PreflightReport) -> types_pb2.PreflightReport:
    """What is kept with a job."""
    return types_pb2.PreflightReport(
        generation=report.generation,
        ended_at=report.ended_at,
        slow=report.slow,
        blamed_hosts=report.blamed,
        notes=report.notes,
        bandwidth=report.bandwidth,
        round_trip_seconds=report.latency,
        all_reduce=report.all_reduce,
        links=[
            types_pb2.PreflightLink(
                source_host=link.source,
                target_host=link.target,
                bandwidth=link.bandwidth,
                round_trip_seconds=link.latency,
                problem=link.problem,
            )
            for link in report.links
        ],
        devices=[
            types_pb2.PreflightDevice(host=each.host, gpu_uuid=each.gpu, name=each.name, flops=each.flops)
            for each in report.devices
        ],
        replaced=report.replaced,
    )


def answer_from_proto(message: pb.PreflightResult) -> Answer:
    """What a member says that it found. Figures that are none are left out: any program may have made them."""

    def figure(name: str) -> float | None:
        value = float(getattr(message, name)) if message.HasField(name) else None  # type: ignore[arg-type]
        return value if value is not None and isfinite(value) and value > 0 else None

    devices = (d for d in message.devices if isfinite(d.flops) and d.flops > 0)
    return Answer(
        number=message.number,
        problem=message.problem[:MAX_REASON],
        latency=figure("round_trip_seconds"),
        sent=figure("sent"),
        received=figure("received"),
        devices=tuple(
            DeviceSpeed(d.gpu_uuid[:MAX_REASON], d.name[:MAX_REASON], d.flops) for d in list(devices)[:MAX_DEVICES]
        ),
        all_reduce=figure("all_reduce"),
        unable=message.unable,
    )
