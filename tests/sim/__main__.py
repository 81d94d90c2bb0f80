"""`python -m tests.sim --seed N [--histories M] [--verbose]`: replay one history, or look for a broken one."""

from __future__ import annotations

import argparse
import sys
import time

from tests.sim.history import Broken, run


def main(arguments: list[str] | None = None) -> int:
    """Run histories from ``--seed`` on; one line for each that is broken. Returns 1 if any is."""
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="the first seed")
    parser.add_argument("--histories", type=int, default=1, help="how many histories, one a seed")
    parser.add_argument("--verbose", action="store_true", help="say everything that happens")
    given = parser.parse_args(arguments)
    began, broken = time.monotonic(), 0
    for seed in range(given.seed, given.seed + given.histories):
        try:
            run(seed, tell=print if given.verbose else None)
        except Broken as error:
            broken += 1
            print(error)
    seconds = time.monotonic() - began
    print(f"{given.histories} histories, {broken} broken, {seconds:.1f} s, {given.histories / seconds:.0f} a second")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
