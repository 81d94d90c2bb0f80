"""Nodes of a job reach readers a page at a time, and each exactly once; what a million pending nodes cost."""

from __future__ import annotations

import time
import tracemalloc
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from coordinator import snapshots
from coordinator.core.changes import JobCreated, JobUpdated, NodeUpdated
from coordinator.core.ids import HostId, JobId
from coordinator.core.matrix import Axis, Matrix
from coordinator.core.model import Job, JobState, Node, NodeState
from coordinator.core.spec import JobSpec, Placement
from coordinator.core.state import State
from coordinator.lastlines import SHOWN_CHARACTERS, last_line
from coordinator.paging import PAGE, NodeQuery
from coordinator.rpc.convert import job_to_proto, node_to_proto
from coordinator.store.rows import job_row

JOB = JobId("j-1")
ENDS = st.sampled_from([NodeState.DONE, NodeState.FAILED])


def state_of(nodes: int, ends: dict[int, NodeState], spec: JobSpec | None = None) -> State:
    """A job, some of whose nodes have ended."""
    state = State()
    spec = spec or JobSpec(nodes=nodes, placement=Placement.ANY, argv=("x",))
    state.apply(JobCreated(Job(JOB, 1, "search", "ann", "", spec, 1.0)))
    for rank, end in ends.items():
        state.apply(NodeUpdated(Node(JOB, rank, NodeState.PLACED, 1, HostId("h-1"))))
        state.apply(NodeUpdated(Node(JOB, rank, end, 1, HostId("h-1"), exit_code=0)))
    return state


@given(
    st.dictionaries(st.integers(0, 60), ENDS),
    st.integers(1, 20),
    st.frozensets(ENDS),
    st.tuples(st.integers(0, 60), st.none() | st.integers(0, 60)),
)
def test_pages_hold_each_node_that_is_asked_for_once_and_in_order(
    ends: dict[int, NodeState], limit: int, states: frozenset[NodeState], ranks: tuple[int, int | None]
) -> None:
    state = state_of(61, ends)
    seen: list[int] = []
    first: int | None = ranks[0]
    while first is not None:
        page = snapshots.job_detail(state, state.jobs[JOB], NodeQuery(states, first, ranks[1], limit=limit))
        assert len(page.nodes) <= limit
        seen += [view.node.rank for view in page.nodes]
        first = page.next_rank
    inside = [r for r in sorted(ends) if ranks[0] <= r and (ranks[1] is None or r < ranks[1])]
    assert seen == [rank for rank in inside if not states or ends[rank] in states]


def test_a_watcher_is_told_of_many_nodes_in_bounded_messages_and_of_each_change_once() -> None:
    state = state_of(3000, dict.fromkeys(range(2500), NodeState.DONE))
    told = snapshots.Told()
    sizes = []
    while True:
        news = snapshots.news(state, JOB, told)
        sizes.append(len(news.nodes))
        if not news.more:
            break
    assert sizes == [PAGE, PAGE, 500]
    state.apply(NodeUpdated(Node(JOB, 7, NodeState.PENDING, 1)))
    assert [view.node.rank for view in snapshots.news(state, JOB, told).nodes] == [7]
    assert snapshots.news(state, JOB, None).nodes == ()


def test_a_million_pending_nodes_cost_less_than_a_megabyte_wherever_they_are_kept_or_told() -> None:
    matrix = Matrix((Axis("lr", tuple(str(lr) for lr in range(1000))), Axis("seed", first=1, last=1000)))
    spec = JobSpec(nodes=len(matrix), placement=Placement.ANY, argv=("x",), matrix=matrix)
    tracemalloc.start()
    try:
        state = state_of(spec.nodes, {}, spec)
        view = snapshots.job_detail(state, state.jobs[JOB])
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(matrix) == 1_000_000
    assert kept < 1e6
    assert len(job_to_proto(view.job).SerializeToString()) < 20_000
    assert len(job_row(state.jobs[JOB])[5]) < 20_000


def test_what_shows_a_job_of_100000_ended_nodes_is_ready_at_once() -> None:
    ends = {rank: NodeState.FAILED if rank % 1000 == 999 else NodeState.DONE for rank in range(100_000)}
    state = state_of(100_000, ends)
    for end in (JobState.STOPPING, JobState.FAILED):
        state.apply(JobUpdated(replace(state.jobs[JOB], state=end)))
    began = time.process_time()
    failed = snapshots.job_detail(state, state.jobs[JOB], NodeQuery(frozenset({NodeState.FAILED}), limit=50))
    first = snapshots.job_detail(state, state.jobs[JOB])
    size = sum(len(node_to_proto(view).SerializeToString()) for view in first.nodes)
    assert time.process_time() - began < 0.5
    assert (len(failed.nodes), failed.nodes[0].node.rank) == (50, 999)
    assert (len(first.nodes), first.next_rank) == (PAGE, PAGE)
    assert size < 200_000


def test_the_last_line_is_what_one_would_see_there() -> None:
    assert last_line(b"one\n\x1b[32mloss 0.25\x1b[0m\n\n  \n") == "loss 0.25"
    assert last_line(b"epoch 1\n 10%\r 55%\r100%") == "100%"
    assert last_line(b"") == last_line(b"\n\n\x00\n") == ""
    assert last_line(b"x" * 1000) == "x" * SHOWN_CHARACTERS + "…"
    assert last_line(b"\xffok") == "�ok"
