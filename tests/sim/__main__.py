"""Replay one history (`--seed N --verbose`), look for broken ones (`--histories M`), or look all night (`--night`)."""

from __future__ import annotations

import argparse
import sys
import time

from tests.sim import night
from tests.sim.history import Broken, run


def main(arguments: list[str] | None = None) -> int:
    """Run histories from ``--seed`` on; one line for each that is broken. Returns 1 if any is."""
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description=__doc__)
    parser.add_argument("--seed", type=int, help="the first seed; default 0, and at night one by the date")
    parser.add_argument("--histories", type=int, help="how many histories, one a seed; default 1, at night 100000")
    parser.add_argument("--verbose", action="store_true", help="say everything that happens")
    parser.add_argument("--without", default="", metavar="PART,…", help="leave out these faults and jobs")
    parser.add_argument("--night", action="store_true", help="on all cores, with the first broken ones made smaller")
    parser.add_argument("--workers", type=int, default=night.cores(), help="at night: processes; default: all cores")
    given = parser.parse_args(arguments)
    if given.night:
        first = night.tonight() if given.seed is None else given.seed
        return 1 if night.search(first, given.histories or night.HISTORIES, given.workers) else 0
    return _replay(given.seed or 0, given.histories or 1, given.verbose, given.without.split(","))


def _replay(first: int, histories: int, verbose: bool, without: list[str]) -> int:
    began, broken = time.monotonic(), 0
    for seed in range(first, first + histories):
        try:
            run(seed, tell=print if verbose else None, without=[part for part in without if part])
        except Broken as error:
            broken += 1
            print(error)
    seconds = time.monotonic() - began
    print(f"{histories} histories, {broken} broken, {seconds:.1f} s, {histories / seconds:.0f} a second")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
