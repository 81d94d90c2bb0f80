"""How many short nodes a second, beside HyperQueue and Parsl on this machine in the same run: ``make bench-peers``.

The peers run where they are installed: in this environment, or in another one whose interpreter is named by
``RALLYPOINT_BENCH_PEERS`` (``python3 -m venv peers && peers/bin/pip install hyperqueue parsl``). Rounds alternate, so
that what else the machine does meets all alike. Neither peer has a result on disk before it counts; ours are.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.bench import peers
from tests.bench.bare import IN_HAND, bare_loop
from tests.bench.conftest import client_of
from tests.bench.cpu import Usage, used, used_by_spawners
from tests.bench.results import Figure, Results, median
from tests.bench.test_latency import timed_nodes
from tests.multihost.cluster import Cluster

pytestmark = [pytest.mark.bench, pytest.mark.timeout(600)]

PYTHON = os.environ.get("RALLYPOINT_BENCH_PEERS", sys.executable)
ROUNDS = 3
BETTER, OF_BARE = 1.3, 0.7

Run = Callable[[int], float]


@contextmanager
def peer(name: str, folder: Path) -> Iterator[Run | None]:
    """Runs so many ``/bin/true`` on that peer and gives the seconds; None where it is not installed."""
    if subprocess.run([PYTHON, "-c", f"import {peers.PACKAGES[name]}"], capture_output=True, check=False).returncode:
        yield None
        return
    folder.mkdir()
    command = [PYTHON, peers.__file__, name, str(folder)]
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None

        def answer() -> str:
            for line in process.stdout or ():
                if line.startswith(peers.MARK):
                    return line.removeprefix(peers.MARK)
            pytest.fail(f"{name} ended: {(folder / 'log').read_text()[-2000:]}")

        def run(count: int) -> float:
            assert process.stdin is not None
            print(count, file=process.stdin, flush=True)
            return float(answer())

        answer()
        run(100)  # its workers come up with the first ones
        try:
            yield run
        finally:
            process.stdin.close()
            process.wait(30)


@pytest.mark.parametrize("count", [1000, 5000])
def test_short_nodes_a_second(count: int, two: Cluster, tmp_path: Path, results: Results) -> None:

    with ExitStack() as stack:
        client = stack.enter_context(client_of(two))
        loop = stack.enter_context(bare_loop(tmp_path))
        named: dict[str, Run | None] = {name: stack.enter_context(peer(name, tmp_path / name)) for name in peers.PEERS}
        runs: dict[str, Run] = {
            "Rallypoint": lambda count: timed_nodes(client, count),
            "bare": lambda count: loop.run(count, 0),
            "bare, in hand": lambda count: loop.run(count, IN_HAND),
            **{name: run for name, run in named.items() if run is not None},
        }
        timed_nodes(client, 200)
        rates: dict[str, list[float]] = {name: [] for name in runs}
        meters: dict[str, Callable[[], Usage]] = {
            "Rallypoint": lambda: used(two),
            "bare, in hand": lambda: used_by_spawners(tmp_path),
        }
        spent: dict[str, str] = {}
        for _ in range(ROUNDS):
            for name, run in runs.items():
                before = meters[name]() if name in meters else None
                rates[name].append(count / run(count))
                if before is not None:
                    spent[name] = meters[name]().since(before).each(count)
    report(results, count, {name: median(found) for name, found in rates.items()}, spent)


def report(results: Results, count: int, rates: dict[str, float], spent: Mapping[str, str]) -> None:
    """The rates, and how they stand to each other."""
    what = f"{count:,} × /bin/true on two hosts"
    ours = rates["Rallypoint"]
    figures = [Figure(f"{what}: {name}", rate, "a second", note=spent.get(name, "")) for name, rate in rates.items()]
    figures.append(Figure(f"{what}: of a bare loop that orders each after an end", ours / rates["bare"], "×"))
    figures.append(
        Figure(f"{what}: of a bare loop that orders ahead", ours / rates["bare, in hand"], "×", OF_BARE, True)
    )
    others = [rates[name] for name in peers.PEERS if name in rates]
    if others:
        figures.append(Figure(f"{what}: of the better peer", ours / max(others), "×", BETTER, True))
    results.add(*figures)
    if not others:
        pytest.skip(f"{PYTHON} has no peer; pip install hyperqueue parsl")
