"""What an idle agent and an idle coordinator cost: memory of all their processes, and processor time."""

from __future__ import annotations

import threading

import psutil
import pytest

from tests.bench.results import Figure, Results
from tests.multihost.cluster import Agent, Cluster

pytestmark = [pytest.mark.bench, pytest.mark.timeout(180)]

MIB = 1024 * 1024
WATCH_SECONDS = 30.0


def processes_of(agent: Agent) -> list[psutil.Process]:
    """The agent, all below it, and its spawner, which is nobody's child."""
    own = psutil.Process(agent.program.pid)
    found = {own.pid: own} | {child.pid: child for child in own.children(recursive=True)}
    for process in psutil.process_iter(["cmdline"]):
        if str(agent.state) in (process.info["cmdline"] or ()):
            found.setdefault(process.pid, process)
    return list(found.values())


def memory(processes: list[psutil.Process]) -> float:
    """Proportional set size of all together, in MiB."""
    return float(sum(process.memory_full_info().pss for process in processes)) / MIB


def processor_seconds(processes: list[psutil.Process]) -> float:
    """User and system time of all together."""
    return sum(times.user + times.system for times in (process.cpu_times() for process in processes))


def test_an_idle_agent(one: Cluster, results: Results) -> None:
    one.wait(one.shell("true", "--placement", "any"))  # so that all that ever starts has been started
    processes = processes_of(one.agents["h1"])
    before = processor_seconds(processes)
    threading.Event().wait(WATCH_SECONDS)  # the measured time itself; nothing is awaited
    share = 100 * (processor_seconds(processes) - before) / WATCH_SECONDS
    names = f"{len(processes)} processes"
    results.add(Figure("agent, idle: memory (PSS)", memory(processes), "MiB", 60, note=names))
    results.add(Figure("agent, idle: processor", share, "% of a core", 0.5))


def test_a_coordinator_with_six_agents(six: Cluster, results: Results) -> None:
    process = psutil.Process(six.coordinator.pid)
    before = processor_seconds([process])
    threading.Event().wait(WATCH_SECONDS / 2)
    share = 100 * (processor_seconds([process]) - before) / (WATCH_SECONDS / 2)
    results.add(Figure("coordinator, 6 agents: memory (PSS)", memory([process]), "MiB", 120))
    results.add(Figure("coordinator, 6 agents: processor", share, "% of a core"))
