"""The health of GPUs between protobuf and records."""

from __future__ import annotations

from dataclasses import replace

from rallypoint.v1 import types_pb2 as pb

from coordinator.core.evidence import Condition, Evidence, Sign
from coordinator.core.hardware import Gpu, Hardware
from coordinator.rpc.hardware import hardware_from_proto, hardware_to_proto
from coordinator.rpc.health import MAX_DETAIL, evidence_from_proto


def test_conditions_and_whether_anyone_looks_survive_the_way_to_protobuf_and_back() -> None:
    every = tuple(Condition(sign, code, sign.value) for code, sign in enumerate(Sign))
    gpu = Gpu("GPU-1", 0, "NVIDIA H100", conditions=every, watched=True)
    hardware = Hardware(gpus=(gpu, replace(gpu, uuid="GPU-2", conditions=(), watched=False)), conditions=every[:2])

    assert hardware_from_proto(hardware_to_proto(hardware)) == hardware


def test_evidence_comes_in_the_order_of_its_numbers() -> None:
    second = pb.HealthEvidence(sign=pb.HEALTH_SIGN_TEST_PASSED, gpu_uuid="GPU-1", code=3, sequence=9)
    first = pb.HealthEvidence(
        sign=pb.HEALTH_SIGN_XID,
        gpu_uuid="GPU-1",
        code=79,
        detail="GPU has\nfallen off the bus",
        seconds_ago=1.5,
        allocation_id="j-1.0.1",
        sequence=8,
    )

    assert evidence_from_proto([second, first]) == (
        Evidence("GPU-1", Sign.XID, 79, "GPU has fallen off the bus", 1.5, "j-1.0.1", 8),
        Evidence("GPU-1", Sign.TEST_PASSED, 3, sequence=9),
    )


def test_a_sign_of_a_newer_agent_is_kept_as_one_without_a_name_and_a_long_text_is_cut() -> None:
    (evidence,) = evidence_from_proto([pb.HealthEvidence(sign=99, detail="x" * 10_000, seconds_ago=-5)])  # type: ignore[arg-type]

    assert (evidence.sign, len(evidence.detail), evidence.seconds_ago) == (Sign.OTHER, MAX_DETAIL, 0.0)
