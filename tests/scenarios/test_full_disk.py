"""A coordinator whose disk fills up: nothing new is accepted, what runs goes on and can be stopped, and it heals."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fakes.small_disk import fill, mounted
from tests.multihost.cluster import Cluster
from tests.support import eventually

pytestmark = pytest.mark.timeout(90)


COUNTING = """
    echo began
    until [ -e "$HOME/../../go" ]; do sleep 0.05; done
    echo "written while the disk was full"
    exit 5
"""


def test_a_disk_that_is_full_to_the_last_byte_stops_no_stop_and_loses_no_end(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path)
    cluster.data_dir.mkdir(mode=0o700)
    with mounted(cluster.data_dir, "100m"):
        cluster.start()
        cluster.add("one", run=["--peer-listen", "127.0.0.1:0", "--cpus", "4"])
        cluster.await_networks(["one"])
        filler = cluster.data_dir / "filler"
        try:
            first, second, third = (cluster.shell(COUNTING, "--placement", "any") for _ in range(3))
            for job in (first, second, third):
                cluster.await_output(job, 0, b"began")
                cluster.await_state(job, "running")
            fill(filler)

            refused = cluster.run("submit", "--detach", "--", "true", check=False)
            assert (refused.code, "free some, then submit again" in refused.err) == (74, True)
            cluster.run("stop", first)
            assert cluster.wait(first) == 76
            assert cluster.logs(first, 0) == b"began\n"

            # Killed and started again on the full disk: it serves, and knows what it acknowledged.
            cluster.coordinator.kill()
            cluster.start()
            eventually(lambda: cluster.hosts()["one"]["state"] == "online", what="the host back")
            assert cluster.run("wait", first, check=False).code == 76
            cluster.run("stop", second)
            assert cluster.wait(second) == 76

            # Now also what was held is taken: nothing can be recorded, and nothing is lost for it.
            fill(cluster.data_dir / "more")
            (tmp_path / "go").touch()
            assert cluster.logs(third, 0) == b"began\n"
            assert {job["id"] for job in cluster.run("ps", "--all", "--json").json["jobs"]} == {first, second, third}
            filler.unlink()
            (cluster.data_dir / "more").unlink()
            assert cluster.wait(third, timeout=30) == 5
            whole = b"began\nwritten while the disk was full\n"
            eventually(lambda: cluster.logs(third, 0) == whole, what="the whole output")
            assert cluster.run("submit", "--", "echo", "again").text == "again\n"
            assert (cluster.data_dir / "reserve").exists()
        finally:
            cluster.close()


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
