"""Following a job while the coordinator is away: also one that has printed nothing yet goes on being followed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.multihost.cluster import Cluster
from tests.support import eventually

pytestmark = pytest.mark.timeout(90)


def test_a_silent_job_is_followed_through_a_restart_of_the_coordinator(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path)
    cluster.start()
    cluster.add("one", run=["--peer-listen", "127.0.0.1:0"])
    cluster.await_networks(["one"])
    began, go = tmp_path / "began", tmp_path / "go"
    script = f"touch {began}; until [ -e {go} ]; do sleep 0.1; done; echo the end"
    try:
        with cluster.submitting("--name", "silent", "--", "sh", "-c", script) as submit:
            eventually(began.exists, what="the job's start")
            cluster.await_state("silent", "running")
            cluster.coordinator.kill()
            cluster.start()
            go.touch()
            out, said = submit.communicate(timeout=40)
        assert (submit.returncode, out) == (0, "the end\n"), said
        assert "no contact with the coordinator; trying again (the job goes on)" in said
    finally:
        cluster.close()
