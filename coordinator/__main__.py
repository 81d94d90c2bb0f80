"""``python -m coordinator``: the same as the ``coordinator`` script."""

import sys

from coordinator.cli.main import run

sys.exit(run())
