"""What tests of every folder may ask for."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.fakes import postgres_server

# Agents of tests that are not about containers do not ask a runtime whether it works: that takes more than all the rest
# of their start, and makes its storage on this machine.
os.environ.setdefault("RALLYPOINT_AGENT_CONTAINERS", "off")
# Tests' folders are closed to other users, as whom an agent of root's would else run nodes.
if os.geteuid() == 0:
    os.environ.setdefault("RALLYPOINT_AGENT_TASK_USER", "root")


@pytest.fixture(scope="session")
def postgres() -> Iterator[postgres_server.Server]:
    """A PostgreSQL server for the whole run; take a ``new_database`` of it."""
    with postgres_server.running() as server:
        yield server
