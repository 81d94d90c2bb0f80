"""What planning must be worth, on short traces: gangs are not starved, and neither GPUs nor money are wasted for it."""

from __future__ import annotations

from statistics import mean

import pytest

from tests.sim.traces.cluster import Cluster, Policy
from tests.sim.traces.figures import Figures, figures
from tests.sim.traces.workload import make

HOSTS, JOBS, LOAD = 8, 200, 0.9
# With fewer one trace decides: waits are heavy-tailed.
SEEDS = range(1, 13)

Played = dict[Policy, list[Figures]]


@pytest.fixture(scope="module")
def played() -> Played:
    """The figures of every policy, a list with one for each seed."""
    traces = [make(seed, JOBS, HOSTS, LOAD, users=0) for seed in SEEDS]
    return {policy: [figures(Cluster(HOSTS).work_off(trace, policy)) for trace in traces] for policy in Policy}


def test_gangs_are_not_starved_as_they_are_where_nothing_is_kept_for_them(played: Played) -> None:
    ours = [figures.waits["gangs"] for figures in played[Policy.OURS]]
    plain = [figures.waits["gangs"] for figures in played[Policy.FIRST_FIT]]
    assert mean(w.longest for w in ours) < 0.75 * mean(w.longest for w in plain)
    assert mean(w.mean for w in ours) < 0.9 * mean(w.mean for w in plain)


def test_hosts_are_as_busy_as_if_nothing_were_kept(played: Played) -> None:
    ours, plain = played[Policy.OURS], played[Policy.FIRST_FIT]
    assert mean(f.utilisation for f in ours) > mean(f.utilisation for f in plain) - 0.03
    assert mean(f.makespan for f in ours) < 1.05 * mean(f.makespan for f in plain)


def test_strict_order_is_worse_for_everybody_and_not_cheaper(played: Played) -> None:
    ours, strict = played[Policy.OURS], played[Policy.FIFO]
    for name in ours[0].waits:
        assert mean(f.waits[name].mean for f in ours) < mean(f.waits[name].mean for f in strict), name
    assert mean(f.utilisation for f in ours) > mean(f.utilisation for f in strict)
    assert mean(f.cost for f in ours) < 1.05 * mean(f.cost for f in strict)


def test_a_trace_and_what_becomes_of_it_are_the_same_every_time(played: Played) -> None:
    again = figures(Cluster(HOSTS).work_off(make(SEEDS[0], JOBS, HOSTS, LOAD, users=0), Policy.OURS))
    assert again == played[Policy.OURS][0]
