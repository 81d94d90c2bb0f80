"""A host whose disk fills up: no new work comes, what runs lives and its output is sent, and it heals by itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fakes.small_disk import mounted
from tests.multihost.cluster import Cluster
from tests.support import eventually

pytestmark = pytest.mark.timeout(90)

MB = 1 << 20


def test_a_host_that_is_nearly_full_gets_no_new_work_until_there_is_room(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path)
    go = tmp_path / "go"
    disk = tmp_path / "disk"
    disk.mkdir()
    with mounted(disk, "64m"), cluster:
        cluster.add("one", run=["--peer-listen", "127.0.0.1:0", "--work-dir", str(disk), "--disk-reserve", "30MB"])
        cluster.await_networks(["one"])
        running = cluster.shell(f"echo began; until [ -e {go} ]; do sleep 0.05; done; echo still here")
        cluster.await_output(running, 0, b"began")
        (disk / "ballast").write_bytes(bytes(40 * MB))
        warned = eventually(lambda: cluster.hosts()["one"]["warning"], what="a warning")
        assert warned.startswith(f"no new work: its disk at {disk} has only ")
        assert warned.endswith(" MB left, and 30 MB are kept free")

        waiting = cluster.submit("--", "true")
        said = cluster.run("explain", waiting).text
        assert f"its disk at {disk} has only" in said
        assert "; free some" in said
        assert cluster.show(waiting)["job"]["state"] == "queued"

        go.touch()
        assert cluster.wait(running) == 0
        assert cluster.logs(running, 0) == b"began\nstill here\n"
        (disk / "ballast").unlink()
        assert cluster.wait(waiting) == 0
        assert not cluster.hosts()["one"]["warning"]
