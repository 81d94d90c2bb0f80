"""A coordinator whose disk fills up: nothing new is accepted, what runs goes on and can be stopped, and it heals."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fakes.small_disk import mounted
from tests.multihost.cluster import Cluster

pytestmark = pytest.mark.timeout(90)


def test_submits_are_refused_before_the_disk_is_full_and_the_rest_goes_on(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path)
    cluster.data_dir.mkdir(mode=0o700)
    with mounted(cluster.data_dir, "100m"):
        cluster.start()
        cluster.add("one", run=["--peer-listen", "127.0.0.1:0"])
        cluster.await_networks(["one"])
        try:
            running = cluster.shell("echo began; sleep 600")
            cluster.await_output(running, 0, b"began")
            ballast = cluster.data_dir / "ballast"
            ballast.write_bytes(bytes(60 << 20))

            refused = cluster.run("submit", "--detach", "--", "true", check=False)
            assert "left on the coordinator's disk" in refused.err
            assert "free some, then submit again" in refused.err
            assert refused.code == 74
            assert [job["id"] for job in cluster.run("ps", "--json").json["jobs"]] == [running]
            cluster.run("stop", running)
            assert cluster.wait(running) == 76
            assert cluster.logs(running, 0) == b"began\n"

            ballast.unlink()
            assert cluster.run("submit", "--", "echo", "again").text == "again\n"
        finally:
            cluster.close()
