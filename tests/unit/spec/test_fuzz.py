"""Whatever stands in a task file, it is a task or its problems are told, each at its place on one line."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.spec.document import Document
from coordinator.spec.model import TaskFields
from coordinator.spec.options import Options, overridden
from coordinator.spec.problems import SpecError
from coordinator.spec.task import Task, task_of

pytestmark = pytest.mark.timeout(60)

# What other fields and the readers of their parts look for.
WORDS = (
    "1|0|-1|4..|..2|1..4|1..9..2|0-9%3|1e-3|50 USD|$5|16GB|H100:2|1/2|A100:1/2|true|off|any|cluster|cost|fp8|5m"
    "|0 2 * * *|${{ matrix.x }}|${{ groups[0].nodes[0].IP_ADDRESS }}|${{|name|resources|gpu|cpu|env|commands|nodes|min"
    "|max|from|to|step|include|exclude|cron|job|when|share|count|speed|variants|a=1|https://x.example|gpu-*|\0"
).split("|")
texts = st.one_of(st.sampled_from(WORDS), st.text(max_size=6))
values = st.recursive(
    st.none() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
fields = st.sampled_from(sorted(TaskFields.model_fields))


@given(st.dictionaries(fields | texts, values, max_size=6), st.booleans())
def test_no_value_of_any_field_is_a_traceback(data: dict[str, Any], complete: bool) -> None:
    document = Document({**data, **({"type": "task", "commands": ["x"]} if complete else {})}, {(): "job.yml:1"})
    try:
        assert isinstance(task_of(document, (), Options(), {}), Task)
    except SpecError as error:
        for problem in error.problems:
            assert problem.place == "job.yml:1"
            assert "; " in problem.text
            assert "\n" not in problem.text


options = st.fixed_dictionaries(
    {
        name: st.lists(texts, max_size=2).map(tuple) if isinstance(default, tuple) else st.none() | texts
        for name, default in ((each, getattr(Options(), each)) for each in Options.__slots__)
    }
)


@given(options, st.dictionaries(fields, values, max_size=2))
def test_no_option_is_a_traceback(given_options: dict[str, Any], data: dict[str, Any]) -> None:
    document = Document({"type": "task", "commands": ["x"], **data}, {(): "job.yml:1"})
    typed = Options(**given_options)
    assert overridden(document, typed, []).places[()] == "job.yml:1"
    with contextlib.suppress(SpecError):
        task_of(document, (), typed, {})
