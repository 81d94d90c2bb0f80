"""`python -m agent`: the same as the `agent` script."""

from agent.cli import run

run()
