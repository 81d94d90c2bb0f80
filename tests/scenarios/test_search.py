"""A search over parameters, a job that waits for it, and another try of what failed: with real processes, over restarts
of the coordinator."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.multihost.cluster import Cluster

pytestmark = pytest.mark.timeout(120)


def test_a_search_fails_in_part_is_tried_again_and_lets_the_job_after_it_begin(tmp_path: Path) -> None:
    mended, count = tmp_path / "mended", tmp_path / "count"
    script = f"""
        echo "seed ${{{{ matrix.seed }}}}"
        if [ "$RALLYPOINT_MATRIX_SEED" = 2 ] && [ ! -e {mended} ]; then exit 9; fi
        echo "$RALLYPOINT_MATRIX_LR" >> {count}
        env | grep -c RALLYPOINT_MATRIX_
        echo "loss 0.$RALLYPOINT_MATRIX_SEED"
    """
    with Cluster(tmp_path) as cluster:
        cluster.add("one", run=["--peer-listen", "127.0.0.1:0"])
        cluster.await_networks(["one"])
        grid = ["--grid", "lr=1e-3,1e-4", "--grid", "seed=1..3", "--max-running", "2"]
        search = cluster.shell(script, "--name", "search", *grid)
        report = cluster.shell("echo reported", "--name", "report", "--after", "search")
        assert cluster.run("wait", search, check=False).code == 9
        assert cluster.run("wait", report, check=False).code == 1
        assert cluster.show(report)["job"]["reason"].startswith(
            f"was to wait for {search} (search) to end well, which ended as failed: 2 of 6 nodes failed"
        )

        mended.touch()
        failed = cluster.run("show", search, "--nodes", "failed").text
        assert [line.split()[:4] for line in failed.splitlines() if line[:1].isdigit()] == [
            ["1", "1e-3", "2", "failed"],
            ["4", "1e-4", "2", "failed"],
        ]
        # Withheld from placing, tried again while it waits, and kept over a death of the coordinator.
        cluster.run("host", "cordon", "one")
        cluster.run("retry", search, "--failed")
        cluster.run("retry", report)
        assert cluster.show(report)["job"]["reason"] == f"waits for {search} (search) to end well"
        cluster.coordinator.kill()
        cluster.start()
        cluster.run("host", "resume", "one")
        assert cluster.run("wait", report).code == 0
        assert cluster.logs(report, 0) == b"reported\n"

        nodes = cluster.nodes(search)
        assert [node["attempt"] for node in nodes] == [1, 2, 1, 1, 2, 1]
        assert [node["parameters"]["seed"] for node in nodes] == ["1", "2", "3"] * 2
        assert [node["last_line"] for node in nodes] == [f"loss 0.{seed}" for seed in (1, 2, 3)] * 2
        assert cluster.logs(search, 4) == b"seed 2\n2\nloss 0.2\n"
        assert sorted(count.read_text().split()) == ["1e-3"] * 3 + ["1e-4"] * 3, "what was done was done once"
