"""The short form of tests/bench/test_restart.py: a killed coordinator serves again, and has its hosts back, in time."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fakes.restart_load import load

pytestmark = pytest.mark.timeout(120)


def test_a_killed_coordinator_serves_in_five_seconds_and_has_its_hosts_back_in_fifteen(tmp_path: Path) -> None:
    with load(tmp_path, hosts=50, nodes=1000, ended=200) as cluster:
        restart = cluster.restart()
    assert restart.serves <= 5
    assert restart.back <= 15
