"""kill -9 of coordinator, agent and spawner at every named failpoint, again and again, under a stream of short jobs.

`RALLYPOINT_TEST_CRASHES=N` sets how many times each dies at each of its places (at the 1st to the N-th passing): 3 in
an ordinary run, for the time that it takes; the figures in docs/reliability.md are those of 10.
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from rallypoint.failpoints import NAMES, VARIABLE

from tests.fakes.spawner_client import kill_spawner
from tests.multihost.cluster import Agent, Cluster
from tests.multihost.nursery import Nursery
from tests.multihost.processes import Program
from tests.scenarios.crowd import Crowd
from tests.support import eventually

CRASHES = int(os.environ.get("RALLYPOINT_TEST_CRASHES", "3"))
HOSTS = ("one", "two")
# A host whose agent was away when another probed it gets no group until it is probed again.
PROBES = ("--probe-interval", "1s")

pytestmark = pytest.mark.timeout(120 + 30 * CRASHES)


def of(program: str) -> list[str]:
    """The places of a program at which it may die."""
    return [name for name in NAMES if name.startswith(f"{program}.")]


def crash(program: Program, name: str, times: int) -> None:
    """Start what has died anew, to die at ``name``, and wait until it has."""
    program.restart({VARIABLE: f"{name}:{times}"})
    eventually(lambda: program.ended() is not None, 60.0, f"{program.command[0]} to come by {name} {times} times")
    assert program.ended() == -signal.SIGKILL, program.tail()


def coordinator_dies(cluster: Cluster) -> Counter[str]:
    program = cluster.coordinator
    kill(program)
    died = Counter[str]()
    for times in range(1, CRASHES + 1):
        for name in of("coordinator"):
            crash(program, name, times)
            died[name] += 1
    program.restart({})
    return died


def agents_die(cluster: Cluster) -> Counter[str]:
    """Both at a time, each at its own places; their spawners live on."""
    return on_both(cluster, of("agent"), daemon_dies)


def daemon_dies(agent: Agent, name: str, times: int) -> None:
    if agent.program.ended() is None:
        kill(agent.program)
    crash(agent.program, name, times)


def spawners_die(cluster: Cluster) -> Counter[str]:
    """Both at a time. One is armed as its agent was: so that is started anew, and it with its reaper."""
    return on_both(cluster, of("spawner"), spawner_dies)


def spawner_dies(agent: Agent, name: str, times: int) -> None:
    kill(agent.program)
    kill_spawner(agent.state)
    before = deaths(agent)
    agent.program.restart({VARIABLE: f"{name}:{times}"})
    eventually(lambda: deaths(agent) > before, 60.0, f"a spawner to come by {name} {times} times")


def deaths(agent: Agent) -> int:
    """How often the agent's daemon saw its spawner die."""
    return (agent.folder / "agent.log").read_text().count("spawner.lost")


def on_both(cluster: Cluster, names: list[str], die: Callable[[Agent, str, int], None]) -> Counter[str]:
    """Have the two hosts die side by side, each at every other of ``names``; then all is well again."""

    def one(number: int, agent: Agent) -> Counter[str]:
        died = Counter[str]()
        for times in range(1, CRASHES + 1):
            for name in names[number::2]:
                die(agent, name, times)
                died[name] += 1
        if agent.program.ended() is None:
            kill(agent.program)
        agent.program.restart({})
        return died

    with ThreadPoolExecutor(2) as pool:
        return sum(pool.map(one, range(2), cluster.agents.values()), Counter[str]())


def kill(program: Program) -> None:
    os.kill(program.pid, signal.SIGKILL)
    eventually(lambda: program.ended() is not None, what=f"the end of {program.command[0]}")


HISTORIES: dict[str, Callable[[Cluster], Counter[str]]] = {
    "coordinator": coordinator_dies,
    "agent": agents_die,
    "spawner": spawners_die,
}


def play(nursery: Nursery, folder: Path, history: str) -> tuple[Counter[str], Counter[str]]:
    """Play one history from its start to the reckoning: how often which died where, and how much work was done."""
    folder.mkdir()
    cluster = Cluster(folder, options=PROBES, program=nursery.program)
    with cluster:
        for name in HOSTS:
            cluster.add(name, run=["--peer-listen", "127.0.0.1:0", "--cpus", "4"])
        cluster.await_networks(list(HOSTS))
        # Once more, on the ports that it has now.
        cluster.coordinator.stop()
        cluster.start()
        with Crowd(cluster.context, folder).working() as crowd:
            died = HISTORIES[history](cluster)
        return died, crowd.reckon(once=history != "spawner")


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[tuple[Counter[str], Counter[str]]]]]:
    """All histories, side by side, for each waits most of the time."""
    folder = tmp_path_factory.mktemp("failpoints")
    with Nursery() as nursery, ThreadPoolExecutor(len(HISTORIES)) as pool:
        yield {name: pool.submit(play, nursery, folder / name, name) for name in HISTORIES}


@pytest.mark.parametrize("history", HISTORIES)
def test_nothing_is_lost_nor_run_twice_whenever_it_dies(
    played: dict[str, Future[tuple[Counter[str], Counter[str]]]], history: str
) -> None:
    died, work = played[history].result()
    print(history, dict(died), dict(work))
    assert died == dict.fromkeys(of(history), CRASHES)
    assert work["jobs"] > 0
