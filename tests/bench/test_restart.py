"""How soon a coordinator that was killed serves again, and has all its hosts back, with 10,000 live nodes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench.results import Figure, Results, median
from tests.fakes.restart_load import load

pytestmark = [pytest.mark.bench, pytest.mark.timeout(600)]

NODES = 10_000
ENDED = 5_000
ROUNDS = 3


@pytest.mark.parametrize("hosts", [500, 2000])
def test_a_killed_coordinator_with_ten_thousand_live_nodes(tmp_path: Path, results: Results, hosts: int) -> None:
    # More hosts than were promised, whose agents share this machine's processors: no target.
    serves, back = (5, 15) if hosts == 500 else (None, None)
    with load(tmp_path, hosts, NODES, ENDED) as cluster:
        rounds = [cluster.restart() for _ in range(ROUNDS)]
    what = f"kill -9, 10,000 live nodes on {hosts:,} hosts"
    note = f"median of {ROUNDS}; coordinator {median([r.memory for r in rounds]):.0f} MiB after it"
    results.add(Figure(f"{what}: a submit is acknowledged", median([r.serves for r in rounds]), "s", serves, note=note))
    results.add(Figure(f"{what}: all agents are back", median([r.back for r in rounds]), "s", back))
