"""One identity on two machines: the first in contact keeps it, the second is told, and nothing runs twice."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.multihost.cluster import Cluster
from tests.multihost.processes import BIN, Program, environment
from tests.support import eventually

pytestmark = pytest.mark.timeout(90)


def test_a_copied_identity_is_refused_while_the_first_is_in_contact(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path)
    cluster.start()
    first = cluster.add("one", run=["--peer-listen", "127.0.0.1:0"])
    cluster.await_networks(["one"])
    job = cluster.shell("echo started; sleep 600")
    cluster.await_output(job, 0, b"started")

    copy = tmp_path / "copy"
    shutil.copytree(first.state, copy, ignore=shutil.ignore_patterns("*.sock", "work", "nodes", "logs", "*.journal"))
    command = [str(BIN / "agent"), "run", "--state-dir", str(copy), "--peer-listen", "127.0.0.1:0"]
    second = Program(command, environment(first.home), tmp_path / "second.log")
    second.start()
    try:
        eventually(lambda: "in contact already" in (tmp_path / "second.log").read_text(), what="a refusal")
        assert "its identity is in use on two machines" in (tmp_path / "second.log").read_text()
        assert cluster.hosts()["one"]["state"] == "online"
        assert (first.folder / "agent.log").read_text().count("session.open") == 1
        assert cluster.logs(job, 0) == b"started\n", "the node was started again"
    finally:
        second.stop()
        cluster.run("stop", job, "--abort")
        cluster.run("wait", job, check=False)
        cluster.close()
