"""Work traces off by several policies, and print what each was worth."""

from __future__ import annotations

import argparse
import sys
import time

from tests.sim.traces.cluster import Cluster, Policy
from tests.sim.traces.figures import figures, table
from tests.sim.traces.workload import USERS, make


def main(arguments: list[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.sim.traces", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2000)
    parser.add_argument("--hosts", type=int, default=16, help="of 8 GPUs each")
    parser.add_argument("--load", type=float, default=0.9, help="what is asked for, as a part of what could be done")
    parser.add_argument("--users", type=int, default=USERS, help="0: each job has its own, so that age decides")
    names = [policy.value for policy in Policy]
    parser.add_argument("--policy", action="append", choices=names, help="may be repeated; default: all")
    given = parser.parse_args(arguments)
    trace = make(given.seed, given.jobs, given.hosts, given.load, given.users)
    hosts, hours = given.hosts, trace[-1].at / 3600
    what = f"load {given.load}, {given.users} users, seed {given.seed}"
    print(f"{given.jobs} jobs in {hours:.0f} hours on {hosts} hosts of 8 GPUs, {what}")
    found = {}
    for name in given.policy or names:
        began = time.process_time()
        history = Cluster(hosts).work_off(trace, Policy(name))
        found[name] = figures(history)
        seconds = time.process_time() - began
        print(f"{name}: {history.turns} turns, {seconds:.1f} s CPU, {seconds / history.turns * 1e3:.2f} ms a turn")
    print(table(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
