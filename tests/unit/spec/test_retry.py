"""``retry`` and its neighbours as dstack writes them, and what is wrong in them."""

from __future__ import annotations

from pathlib import Path

import pytest

from coordinator.core.spec import (
    DisconnectAction,
    JobSpec,
    OnDisconnect,
    OnNodeFailure,
    RetryEvent,
    RetryPolicy,
    Spread,
)
from coordinator.spec.problems import SpecError
from coordinator.spec.task import Options, load_task

pytestmark = pytest.mark.timeout(30)


def spec_of(tmp_path: Path, body: str) -> JobSpec:
    file = tmp_path / "job.yml"
    file.write_text("type: task\ncommands: [run]\nplacement: any\n" + body)
    return load_task(file, Options(), {}).spec


@pytest.mark.parametrize(
    ("body", "policy"),
    [
        ("retry: true\n", RetryPolicy()),
        ("retry: false\n", None),
        ("retry: {}\n", RetryPolicy()),
        ("retry: {on_events: [error]}\n", RetryPolicy(frozenset({RetryEvent.ERROR}))),
        (
            "retry:\n  on_events: [no-capacity, interruption]\n  duration: 4h\n  attempts: 5\n",
            RetryPolicy(frozenset({RetryEvent.NO_CAPACITY, RetryEvent.INTERRUPTION}), 14400.0, 5),
        ),
    ],
)
def test_forms_of_retry(tmp_path: Path, body: str, policy: RetryPolicy | None) -> None:
    assert spec_of(tmp_path, body).retry == policy


def test_what_a_failed_node_means(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, "on_node_failure: ignore\nspread: backend\npriority: 10\n")
    assert (spec.on_node_failure, spec.spread, spec.priority) == (OnNodeFailure.IGNORE, Spread.BACKEND, 10)


@pytest.mark.parametrize(
    ("body", "meant"),
    [
        ("on_disconnect: keep\n", OnDisconnect(DisconnectAction.KEEP)),
        ("on_disconnect: stop\n", OnDisconnect()),
        ("on_disconnect: {after: 5m}\n", OnDisconnect(DisconnectAction.STOP, 300.0)),
        ("on_disconnect:\n  action: keep\n  after: 2h\n", OnDisconnect(DisconnectAction.KEEP, 7200.0)),
    ],
)
def test_forms_of_on_disconnect(tmp_path: Path, body: str, meant: OnDisconnect) -> None:
    assert spec_of(tmp_path, body).on_disconnect == meant


def test_copies_and_spares(tmp_path: Path) -> None:
    assert spec_of(tmp_path, "redundancy: 2\n").redundancy == 2
    file = tmp_path / "cluster.yml"
    file.write_text("type: task\nnodes: 4\ncommands: [run]\nspares: 1\n")
    assert load_task(file, Options(), {}).spec.spares == 1


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("retry: maybe\n", "job.yml:4: retry 'maybe' is not known; write true, false, or a mapping"),
        ("retry: {on_events: [eror]}\n", "retry event 'eror' is not known; it is no-capacity or interruption or error"),
        ("retry: {attempts: 0}\n", "attempts: 0 would never run the job"),
        ("retry: {times: 3}\n", "unknown field 'times'"),
        ("priority: 101\n", "priority 101 can't be had; it goes from 0 to 100"),
        ("spread: rack\n", "spread 'rack' is not known; it is host or network or region or backend"),
        ("redundancy: 0\n", "job.yml:4: redundancy 0 can't be had; it goes from 1 to 16"),
        ("spares: 1\n", "job.yml:4: spares are for placement 'cluster'"),
        ("on_disconnect: ignore\n", "on_disconnect 'ignore' is not known; it is stop or keep"),
        ("on_disconnect: {after: 0}\n", "after: 0 would stop the node"),
        ("on_disconnect: {afer: 5m}\n", "unknown field 'afer'; on_disconnect has no such field; did you mean 'after'?"),
        ("on_node_failure: stop\n", "on_node_failure 'stop' is not known"),
    ],
)
def test_errors_name_the_line_and_the_way_out(tmp_path: Path, body: str, text: str) -> None:
    with pytest.raises(SpecError) as caught:
        spec_of(tmp_path, body)
    assert text in str(caught.value)
