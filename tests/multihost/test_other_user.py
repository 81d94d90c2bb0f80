"""Nodes as somebody else than the agent, which is what a user meets: from the task file to the end, by the commands."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.multihost.cluster import Cluster
from tests.other_user import OTHER, open_folder
from tests.support import missing

pytestmark = pytest.mark.timeout(120)

# Allowed on none of the hosts.
STRANGER = 54_323


def default_user() -> pwd.struct_passwd:
    """Whom nodes run as where nobody says anything."""
    found = {entry.pw_name: entry for entry in pwd.getpwall()}
    return found.get("rallypoint-task") or found["nobody"]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Two agents beside each other on the loop-back."""
    if os.geteuid() != 0:
        missing("the right to change users", "run the tests as root")
    with open_folder("other-") as folder, Cluster(folder) as cluster:
        for name, allowed in (("left", ()), ("right", ("--allow-users", str(OTHER)))):
            cluster.add(name, run=["--peer-listen", "127.0.0.1:0", *allowed], env={"RALLYPOINT_AGENT_TASK_USER": ""})
        cluster.await_networks(["left", "right"])
        yield cluster
        cluster.stop_all()


def task(folder: Path, *lines: str) -> str:
    path = folder / "task.yml"
    path.write_text("\n".join(("type: task", "name: others", *lines)))
    return str(path)


def test_a_user_is_placed_where_it_is_allowed_and_explain_says_where_not(cluster: Cluster, tmp_path: Path) -> None:
    fields, default = ("placement: any", "commands: [id -u]"), default_user()
    own = f"{default.pw_name} or {default.pw_uid}"
    refused = (
        f"left: may not run as '{STRANGER}', only as {own} (name others in allow_users of its agent.toml)",
        f"right: may not run as '{STRANGER}', only as {own} or {OTHER} (name others in allow_users of its agent.toml)",
    )
    path = task(tmp_path, f"user: '{STRANGER}'", *fields)
    said = cluster.run("submit", path, check=False)
    assert said.code == 73
    assert all(words in said.err for words in refused)
    waiting = cluster.submit(path, "--queue")
    said = cluster.run("explain", waiting)
    assert all(words in said.text for words in refused), said.text
    cluster.run("stop", waiting)
    for user, hosts in ((str(OTHER), ["right"]), ("", ["left", "right"])):
        job = cluster.submit(task(tmp_path, *([f"user: '{user}'"] if user else []), *fields))
        assert cluster.wait(job) == 0
        assert cluster.logs(job, 0).decode() == f"{user or default.pw_uid}\n"
        assert cluster.nodes(job)[0]["host_name"] in hosts


# Rank 1 hears from rank 0, by what every node is told; each has the job's files for itself.
MEET = """
import os, socket
place = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
rank = int(os.environ["DSTACK_NODE_RANK"])
if rank == 0:
    with socket.create_server(place) as server:
        server.accept()[0].sendall(b"of %d" % os.getuid())
else:
    while True:
        try:
            print("met one", socket.create_connection(place).makefile().read(), flush=True)
            break
        except ConnectionRefusedError:
            pass
with open("result", "w") as file:
    file.write("kept")
"""
GROUP = (
    "nodes: 2",
    "resources: {cpu: 1.., memory: 32MB..}",
    "stop_duration: 30s",
    "files: [meet.py]",
    "commands:",
    "  - python3 meet.py",
    "  - trap 'echo saved >> result; cat result; exit 0' TERM",
    "  - echo ready; while :; do sleep 0.05; done",
)


def test_a_group_meets_outlives_an_agent_and_is_stopped_with_its_grace(cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "meet.py").write_text(MEET)
    job = cluster.submit(task(tmp_path, *GROUP))
    for rank in (0, 1):
        cluster.await_output(job, rank, b"ready\n")
    assert cluster.logs(job, 1) == f"met one of {default_user().pw_uid}\nready\n".encode()
    program = cluster.agents["left"].program
    program.kill()
    program.start()
    cluster.run("stop", job)
    assert cluster.wait(job) == 76
    assert [cluster.logs(job, rank).splitlines()[-1] for rank in (0, 1)] == [b"kept" + b"saved"] * 2
    works = [path for agent in cluster.agents.values() for path in agent.state.glob(f"work/{job}.*/*")]
    assert sorted(path.name for path in works) == ["meet.py", "meet.py", "result", "result"]
    assert {path.stat().st_uid for path in works} == {default_user().pw_uid}
