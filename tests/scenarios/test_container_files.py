"""The container files: both images are built, a coordinator and an agent run in them, and a job between the two."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.base_image import base_root
from tests.fakes.podman import Podman
from tests.support import eventually

ROOT = Path(__file__).parents[2]
NAMES = ("coordinator", "agent")
BUILD_SECONDS = 600.0

pytestmark = [pytest.mark.images, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def podman(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Podman]:
    folder = tmp_path_factory.mktemp("images")
    wheels = folder / "wheels"
    wanted = [f"{ROOT}[postgres]", "hatchling>=1.25"]
    subprocess.run([sys.executable, "-m", "pip", "download", "-q", "-d", wheels, *wanted], check=True)
    # A short path, as podman's sockets want one.
    with tempfile.TemporaryDirectory(prefix="podman-", dir="/tmp") as short:
        podman = Podman(Path(short) / "own", layers=True)
        try:
            podman.import_root(base_root(folder / "root"), "localhost/base")
            for name in NAMES:
                podman.run(
                    *("build", "-q", "-f", str(ROOT / "deploy/containers/Containerfile"), "--target", name, "-t", name),
                    *("--network", "host", "--build-arg", "BASE=localhost/base", "--volume", f"{wheels}:/wheels:ro"),
                    *("--build-arg", "PIP_NO_INDEX=1", "--build-arg", "PIP_FIND_LINKS=/wheels", str(ROOT)),
                    timeout=BUILD_SECONDS,
                )
            yield podman
        finally:
            podman.close()


def test_a_job_runs_between_containers(podman: Podman, tmp_path: Path) -> None:
    ports = ("RALLYPOINT_LISTEN", "RALLYPOINT_AGENT_LISTEN", "RALLYPOINT_INSTALL_LISTEN", "RALLYPOINT_HTTP")
    settings = [word for port in ports for word in ("-e", f"{port}=127.0.0.1:0")]
    podman("run", "-d", "--network", "host", "--name", "c", *settings, "coordinator")
    eventually(lambda: "admin context" in podman("logs", "c"), what="the coordinator", timeout=20)
    where = json.loads(podman("exec", "c", "cat", "/var/lib/rallypoint/coordinator/endpoints.json"))
    token = tmp_path / "token"
    token.write_text(podman("exec", "c", "coordinator", "token", "create"))
    assert podman("exec", "c", "id", "-u") == "7443", "the coordinator needs no root"

    podman(
        *("run", "-d", "--network", "host", "--name", "a", "-v", f"{token}:/run/secrets/rallypoint-token:ro"),
        *("-e", f"RALLYPOINT_JOIN_ADDRESS={where['api']}", "-e", "RALLYPOINT_AGENT_BACKEND=boxes"),
        *("-e", "RALLYPOINT_AGENT_PEER_LISTEN=127.0.0.1:0", "agent"),
    )
    hosts = lambda: podman("exec", "c", "coordinator", "hosts")  # noqa: E731
    eventually(lambda: " online " in hosts(), what="the host", timeout=60)
    said = podman.run(
        "exec", "c", "coordinator", "submit", "--cpus", "1", "--", "sh", "-c", "echo in $RALLYPOINT_BACKEND; id -u"
    )
    assert said.stdout.splitlines() == ["in boxes", "7444"], "nodes are not root's, though the agent is"
    assert "): done after" in said.stderr
    for name in ("a", "c"):
        assert token.read_text().strip() not in podman("inspect", name)
        podman("stop", "-t", "20", name)
        assert podman("inspect", "--format", "{{.State.ExitCode}}", name) == "0", "a clean end"


def test_what_is_missing_is_said_in_one_line(podman: Podman) -> None:
    done = podman.run("run", "--rm", "agent", check=False)
    assert (done.returncode, len(done.stderr.strip().splitlines())) == (2, 1)
    assert "RALLYPOINT_JOIN_ADDRESS is not set" in done.stderr
    done = podman.run("run", "--rm", "-e", "RALLYPOINT_JOIN_ADDRESS=192.0.2.1:7443", "agent", check=False)
    assert (done.returncode, len(done.stderr.strip().splitlines())) == (2, 1)
    assert "/run/secrets/rallypoint-token can't be read: mount a join token there" in done.stderr
    done = podman.run(
        "run", "--rm", "-e", "RALLYPOINT_DATABASE_PASSWORD_FILE=/run/secrets/none", "coordinator", check=False
    )
    assert (done.returncode, len(done.stderr.strip().splitlines())) == (2, 1)
    for name in NAMES:
        assert podman("run", "--rm", name, "--version").startswith(f"{name} ")
