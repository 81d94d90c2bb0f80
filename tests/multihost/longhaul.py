"""A long way to the coordinator: 300 ms for each packet, each way, and five of a hundred lost, each way.

    python -m tests.multihost.longhaul --minutes 10

as root, prints what was seen as JSON. CI runs the same for seconds (``test_longhaul``), with the default settings.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.multihost import faults
from tests.multihost.cluster import Cluster
from tests.multihost.net import HUB_ADDRESS, Lan, Site
from tests.multihost.processes import kill_all_under

DELAY, LOSS = 0.3, 5
# Says ten lines a second until it is stopped.
TALKING = "i=0; while true; do i=$((i+1)); echo line $i; sleep 0.1; done"


@dataclass(slots=True)
class Seen:
    """What a run showed. Times in seconds; ``states`` counts hosts' states, looked at after every job."""

    seconds: float = 0.0
    states: Counter[str] = field(default_factory=Counter)
    sessions: int = 0
    attempts: list[int] = field(default_factory=list)
    any_jobs: list[float] = field(default_factory=list)
    groups: list[float] = field(default_factory=list)
    lines: int = 0
    lines_behind: int = 0

    def summary(self) -> dict[str, Any]:
        """For people."""
        return {
            "seconds": round(self.seconds),
            "hosts seen": dict(self.states),
            "sessions opened": self.sessions,
            "highest attempt": max(self.attempts),
            "any jobs": _times(self.any_jobs),
            "groups": _times(self.groups),
            "lines of the talking node": self.lines,
            "more of them by its end": self.lines_behind,
        }


def _times(taken: list[float]) -> dict[str, float]:
    return {"number": len(taken), "median": round(statistics.median(taken), 1), "longest": round(max(taken), 1)}


@contextmanager
def far_away(folder: Path, hosts: int) -> Iterator[Cluster]:
    """A cluster whose ``hosts`` have all joined over the bad link."""
    (folder / "site").mkdir(parents=True)
    with Site.open({"a": Lan("10.7.1", hosts, DELAY)}, folder / "site") as site, faults.lossy(site, "a", LOSS):
        cluster = Cluster(folder, HUB_ADDRESS, site.hub)
        with cluster:
            for name, host in site.hosts.items():
                cluster.add(name, host.enter)
            cluster.await_networks(list(site.hosts))
            try:
                yield cluster
            finally:
                cluster.stop_all()


def watch(cluster: Cluster, seconds: float) -> Seen:
    """Have jobs and groups run for so long, while one node talks all the time; what was seen."""
    seen = Seen()
    began = time.monotonic()
    talking = cluster.shell(TALKING, "--placement", "any", "--name", "talking")
    while True:
        for times, options in ((seen.any_jobs, ("--placement", "any")), (seen.groups, ("--nodes", "2"))):
            times.append(_run(cluster, seen, *options))
            seen.states.update(host["state"] for host in cluster.hosts().values())
        if time.monotonic() - began >= seconds:
            break
    seen.seconds = time.monotonic() - began
    lines = cluster.logs(talking, 0).decode().splitlines()
    assert lines == [f"line {i}" for i in range(1, len(lines) + 1)], "output is missing or out of order"
    seen.lines = len(lines)
    cluster.run("stop", talking)
    cluster.wait(talking)
    seen.lines_behind = len(cluster.logs(talking, 0).splitlines()) - seen.lines
    seen.attempts += [int(node["attempt"]) for node in cluster.nodes(talking)]
    logs = (agent.folder / "agent.log" for agent in cluster.agents.values())
    seen.sessions = sum(log.read_text().count('"session.open"') for log in logs)
    return seen


def _run(cluster: Cluster, seen: Seen, *options: str) -> float:
    """One small job; the seconds from its submit to its output's end."""
    began = time.monotonic()
    assert cluster.run("submit", *options, "--", "echo", "done").text.count("done")
    took = time.monotonic() - began
    newest = cluster.run("ps", "--all", "--json").json["jobs"][0]["id"]
    seen.attempts += [int(node["attempt"]) for node in cluster.nodes(newest)]
    return took


def main() -> None:
    """Run it by hand."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    minutes = parser.parse_args().minutes
    folder = Path(tempfile.mkdtemp(prefix="longhaul-"))
    try:
        with far_away(folder / "cluster", hosts=3) as cluster:
            seen = watch(cluster, minutes * 60)
        print(json.dumps(seen.summary(), indent=1))
    finally:
        kill_all_under(folder)


if __name__ == "__main__":
    main()
