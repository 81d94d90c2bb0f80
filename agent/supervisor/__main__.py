"""`python -m agent.supervisor --state-dir DIR [--stop-seconds S] -- COMMAND…`: `agent start` starts it."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from agent.lock import AlreadyRunning, PidLock
from agent.supervisor.keeper import Keeper, Order
from agent.supervisor.standing import PID_FILE

EXIT_TAKEN = 4


def main(arguments: list[str]) -> int:
    """Keep the command running; 4 if another supervisor does."""
    parser = argparse.ArgumentParser(prog="python -m agent.supervisor")
    parser.add_argument("--state-dir", type=Path, required=True)
    parser.add_argument("--stop-seconds", type=float, default=30.0)
    parser.add_argument("--watchdog", type=float, default=30.0)
    parser.add_argument("--log-limit", type=int, default=8 << 20)
    parser.add_argument("command", nargs="+")
    given = parser.parse_args(arguments)
    taken = f"another supervisor (pid {{pid}}) uses {given.state_dir}"
    try:
        with PidLock(given.state_dir / PID_FILE, taken):
            times = (given.stop_seconds, given.watchdog, given.log_limit)
            return Keeper(Order(given.state_dir, tuple(given.command), *times), os.environ).run()
    except AlreadyRunning as error:
        print(error, file=sys.stderr)
        return EXIT_TAKEN


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
