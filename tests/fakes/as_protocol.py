"""``as_protocol.py VERSION agent|coordinator ARGUMENT...``: one of our programs, of a release with another protocol."""

from __future__ import annotations

import sys

from rallypoint import version

if __name__ == "__main__":
    # Before any part of the program takes the value over.
    version.PROTOCOL_VERSION, program = sys.argv[1:3]
    version.__version__ = f"{version.PROTOCOL_VERSION}-test"
    sys.argv = [program, *sys.argv[3:]]
    if program == "agent":
        from agent.cli import run

        run()
    else:
        from coordinator.cli.main import run as run_coordinator

        sys.exit(run_coordinator())
