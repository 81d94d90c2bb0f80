"""The worker's lines as the agent takes them: whatever they hold, no GPU gets a value that nobody told."""

from __future__ import annotations

import contextlib
import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.hardware.answer import Answer, GarbledError
from agent.hardware.model import Gpu
from tests.unit.agent.hardware.conftest import UNHURRIED

pytestmark = pytest.mark.timeout(60)

SCALAR = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
ANYTHING = SCALAR | st.lists(SCALAR, max_size=3) | st.dictionaries(st.text(max_size=5), SCALAR, max_size=3)
FIELDS = (
    "uuid",
    "name",
    "memory_bytes",
    "memory_used_bytes",
    "compute_capability",
    "pci_bus",
    "power_limit_milliwatts",
    "power_milliwatts",
    "utilization_percent",
    "temperature_c",
    "nvlinks",
)
SIZES = ("memory_bytes", "memory_used_bytes", "utilization_percent", "power_watts", "power_limit_watts")


def heard(*lines: dict[str, Any]) -> Answer:
    answer = Answer(1)
    for line in lines:
        answer.hear(json.dumps({"id": 1, **line}).encode())
    return answer


@UNHURRIED
@given(st.fixed_dictionaries({"index": st.integers(0, 7)}, optional=dict.fromkeys(FIELDS, ANYTHING)))
def test_a_gpu_has_only_values_of_the_right_kind_and_no_zero_for_unknown(said: dict[str, Any]) -> None:
    (gpu,) = heard({"gpu": said}).gpus
    assert gpu.uuid
    for name in SIZES:
        value = getattr(gpu, name)
        source = name.replace("watts", "milliwatts")
        told = said.get(source)
        assert value is None or (isinstance(value, int | float) and math.isfinite(value) and value >= 0)
        assert value is None or (told is not None and not isinstance(told, bool)), "a value that nobody told"
    assert gpu.memory_bytes != 0
    assert gpu.power_limit_watts != 0
    assert gpu.name != ""


@UNHURRIED
@given(ANYTHING.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=40))
def test_any_line_is_heard_passed_over_or_refused(line: bytes) -> None:
    with contextlib.suppress(GarbledError):
        Answer(1).hear(line)


@UNHURRIED
@given(st.sampled_from(["driver", "gpu", "error", "done", "other"]), ANYTHING)
def test_any_body_is_heard_or_refused(kind: str, body: object) -> None:
    with contextlib.suppress(GarbledError):
        heard({kind: body})


@pytest.mark.parametrize("line", [b"[" * 60_000, b"1" * 60_000, b'{"id": 1, "gpu": {"index": "0"}}', b'{"id": 1}'])
def test_a_line_that_makes_no_sense_is_refused(line: bytes) -> None:
    with pytest.raises(GarbledError):
        Answer(1).hear(line)


def test_a_line_of_an_earlier_question_is_passed_over() -> None:
    answer = Answer(2)
    answer.hear(b'{"id": 1, "done": true}')
    assert not answer.done
    answer.hear(b'{"id": 2, "done": true}')
    assert answer.done


def test_the_gpu_that_is_due_is_the_first_neither_heard_nor_skipped() -> None:
    answer = Answer(1, skip=frozenset({1}))
    assert answer.waiting_for is None
    answer.hear(b'{"id": 1, "driver": {"count": 3}}')
    assert answer.waiting_for == 0
    answer.hear(b'{"id": 1, "gpu": {"index": 0}}')
    assert answer.waiting_for == 2
    answer.hear(b'{"id": 1, "gpu": {"index": 2}}')
    assert answer.waiting_for is None


def test_an_error_ends_the_answer_with_its_number_and_text() -> None:
    answer = heard({"error": {"nvml": 18, "text": "mismatch"}})
    assert answer.done
    assert answer.error is not None
    assert (answer.error.number, answer.error.text) == (18, "mismatch")


def test_a_gpu_with_nothing_but_an_index_is_all_unknown() -> None:
    assert heard({"gpu": {"index": 4}}).gpus == [Gpu("unknown-4", 4)]


@UNHURRIED
@given(st.lists(st.fixed_dictionaries({}, optional=dict.fromkeys(("uuid", "name", "memory_bytes"), ANYTHING))))
def test_instances_are_told_by_uuid_or_not_at_all(instances: list[dict[str, Any]]) -> None:
    gpus = heard({"gpu": {"index": 2, "uuid": "GPU-2", "instances": instances}}).gpus
    named = [i["uuid"] for i in instances if isinstance(i.get("uuid"), str) and i["uuid"]]
    assert [gpu.uuid for gpu in gpus] == (named or ["GPU-2"])
    assert all((gpu.index, gpu.parent) == (2, "GPU-2") for gpu in gpus if named)
    assert all(gpu.problem is None for gpu in gpus) == bool(named)
