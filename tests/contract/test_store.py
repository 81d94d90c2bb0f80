"""The contract of ``Store``, run over the memory fake and the real ones alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from coordinator.access.changes import TokenStored, UserRemoved, UserStored
from coordinator.access.tokens import JoinToken
from coordinator.access.users import User
from coordinator.core.changes import (
    AllocationFreed,
    AllocationReserved,
    HostRemoved,
    HostSeen,
    HostUpdated,
    JobCreated,
    JobForgotten,
    JobUpdated,
    NodeUpdated,
    NumbersSkipped,
)
from coordinator.core.ids import HostId, allocation_id, host_id, job_id
from coordinator.core.model import Allocation, Host, HostFacts, Job, JobState, Node, NodeState, Phase
from coordinator.core.spec import JobSpec
from coordinator.store import Counters, LeaseGiven, Loaded, StoredChange
from tests.contract.places import KINDS, Place, fresh, opened
from tests.contract.records import histories
from tests.fakes.memory_store import MemoryStore
from tests.fakes.postgres_server import Server

JOB = Job(job_id(1), 1, "train", "admin", "r-1", JobSpec(nodes=3, commands=("true",)), submitted_at=1.0)
HOST = Host(host_id(1), "alpha", HostFacts(), joined_at=2.0)


@pytest.fixture(scope="session")
def server(request: pytest.FixtureRequest) -> Callable[[], Server]:
    """The PostgreSQL server, started by whoever asks first."""
    return lambda: request.getfixturevalue("postgres")


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest, server: Callable[[], Server]) -> Iterator[Place]:
    with fresh(request.param, server) as made:
        yield made


def node(rank: int, **changed: Any) -> Node:
    return Node(JOB.id, rank, NodeState.PLACED, attempt=1, **changed)


def held(rank: int, attempt: int = 1) -> Allocation:
    name = allocation_id(JOB.id, rank, attempt)
    return Allocation(name, JOB.id, rank, attempt, HostId("h-1"), 1, 2**40, ("GPU-1",), wanted=Phase.RUNNING)


def reloaded(place: Place, *commits: list[StoredChange]) -> Loaded:
    """What a new store finds after ``commits`` by one before."""
    with opened(place) as store:
        for commit in commits:
            store.commit(commit)
    with opened(place) as store:
        return store.load()


def test_an_empty_store_holds_nothing(place: Place) -> None:
    assert reloaded(place) == Loaded()


def test_committing_nothing_is_harmless(place: Place) -> None:
    assert reloaded(place, []) == Loaded()


def test_the_last_version_of_a_record_wins_within_a_commit_and_over_commits(place: Place) -> None:
    running = replace(JOB, state=JobState.RUNNING, version=2)
    done = replace(JOB, state=JobState.DONE, exit_code=0, version=3)
    first: list[StoredChange] = [
        JobCreated(JOB),
        NodeUpdated(node(0)),
        JobUpdated(running),
        NodeUpdated(node(0, reason="second")),
    ]
    after_one = reloaded(place, first)
    assert (after_one.jobs, after_one.nodes) == ((running,), (node(0, reason="second"),))
    after_two = reloaded(place, [JobUpdated(done), NodeUpdated(node(0, reason="third"))])
    assert (after_two.jobs, after_two.nodes) == ((done,), (node(0, reason="third"),))


def test_an_allocation_lives_from_reserved_to_freed(place: Place) -> None:
    assert reloaded(place, [AllocationReserved(held(0)), AllocationReserved(held(1))]).allocations == (held(0), held(1))
    both: list[StoredChange] = [
        AllocationFreed(held(0).id),
        AllocationReserved(held(0, 2)),
        AllocationFreed(held(0, 2).id),
    ]
    assert reloaded(place, both).allocations == (held(1),)


def test_a_forgotten_job_goes_with_its_nodes_and_its_number_is_not_given_again(place: Place) -> None:
    other = replace(JOB, id=job_id(7), number=7)
    stays = Node(other.id, 0, NodeState.DONE, attempt=1)
    many = [NodeUpdated(node(rank)) for rank in range(50)]
    loaded = reloaded(place, [JobCreated(JOB), JobCreated(other), *many, NodeUpdated(stays)], [JobForgotten(JOB.id)])
    assert (loaded.jobs, loaded.nodes, loaded.counters) == ((other,), (stays,), Counters(jobs=7))
    assert reloaded(place, [JobForgotten(other.id)]).counters == Counters(jobs=7)


def test_a_node_stored_after_its_job_was_forgotten_in_one_commit_stays(place: Place) -> None:
    commit: list[StoredChange] = [JobForgotten(JOB.id), NodeUpdated(node(1))]
    assert reloaded(place, [JobCreated(JOB), NodeUpdated(node(0))], commit).nodes == (node(1),)


def test_an_update_of_a_forgotten_job_does_not_bring_it_back(place: Place) -> None:
    assert reloaded(place, [JobCreated(JOB)], [JobForgotten(JOB.id), JobUpdated(JOB)]).jobs == ()


def test_a_removed_hosts_number_is_not_given_again(place: Place) -> None:
    tenth = replace(HOST, id=host_id(10))
    loaded = reloaded(place, [HostUpdated(tenth), HostUpdated(replace(HOST, id=host_id(9)))])
    assert [host.id for host in loaded.hosts] == ["h-9", "h-10"]
    assert reloaded(place, [HostRemoved(tenth.id)]).counters == Counters(hosts=10)


def test_numbers_that_are_skipped_stay_skipped_and_never_come_back(place: Place) -> None:
    skipped = reloaded(place, [HostUpdated(HOST)], [NumbersSkipped(jobs=1000, hosts=50, attempts=7)])
    assert skipped.counters == Counters(jobs=1000, hosts=50, attempts=7)
    assert reloaded(place, [NumbersSkipped(jobs=5, hosts=90, attempts=0)]).counters == Counters(1000, 90, attempts=7)


def test_of_leases_given_the_last_one_counts_also_when_it_is_shorter(place: Place) -> None:
    assert reloaded(place, [LeaseGiven(40), LeaseGiven(66)]).counters == Counters(lease=66)
    assert reloaded(place, [HostRemoved(host_id(3))]).counters == Counters(hosts=3, lease=66)
    assert reloaded(place, [LeaseGiven(36)]).counters == Counters(hosts=3, lease=36)


def test_tokens_and_users_are_kept(place: Place) -> None:
    token = JoinToken("t-1", "hash", 1.0, 2.0, uses_left=None, labels={"rack": "7"}, created_by="admin")
    user = User("ann", "admin", "hash", 3.0)
    loaded = reloaded(place, [TokenStored(token), UserStored(user), UserStored(replace(user, name="bob"))])
    assert (loaded.join_tokens, loaded.users) == ((token,), (user, replace(user, name="bob")))
    revoked = replace(token, revoked=True, uses_left=0)
    loaded = reloaded(place, [TokenStored(revoked), UserRemoved("ann")])
    assert (loaded.join_tokens, loaded.users) == ((revoked,), (replace(user, name="bob"),))


def test_a_commit_with_a_change_that_is_not_durable_stores_none_of_it(place: Place) -> None:
    seen: Any = HostSeen(HOST)
    with opened(place) as store:
        with pytest.raises(TypeError, match="HostSeen is not stored"):
            store.commit([JobCreated(JOB), seen, NodeUpdated(node(0))])
        assert store.load() == Loaded()


def test_a_thousand_nodes_in_one_commit_are_all_there(place: Place) -> None:
    nodes = tuple(node(rank) for rank in range(1000))
    assert reloaded(place, [JobCreated(JOB), *map(NodeUpdated, nodes)]).nodes == nodes


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "memory"])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(commits=histories())
def test_what_is_loaded_is_what_was_committed_change_by_change(
    kind: str, server: Callable[[], Server], commits: list[list[StoredChange]]
) -> None:
    plain = MemoryStore()
    for commit in commits:
        for change in commit:
            plain.commit([change])
    with fresh(kind, server) as place:
        assert reloaded(place, *commits) == plain.load()
