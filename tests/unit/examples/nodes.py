"""Runs an example's task file as the agents would: a fresh directory with the task's files, a clean environment."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from coordinator.core.interpolation import fill
from coordinator.spec.task import Options, load_task
from tests.support import missing

EXAMPLES = Path(__file__).parents[3] / "docs" / "examples"
LIMIT = 90.0  # seconds that one node of an example may take on a busy machine


@dataclass(frozen=True, slots=True)
class Ended:
    """How a node ended."""

    code: int
    out: str
    err: str


@dataclass(frozen=True, slots=True)
class Task:
    """One example's task file, to be run on this machine under ``home``."""

    path: Path
    home: Path
    fields: dict[str, Any] = field(repr=False)

    def environment(self, rank: int, nodes: int, workdir: Path, **more: str) -> dict[str, str]:
        """Return what a node of either placement gets, then the task's own ``env``, then ``more``."""
        given = dict(line.split("=", 1) for line in self.fields.get("env", []))
        return {
            "PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin",
            "HOME": str(self.home),
            "DSTACK_RUN_NAME": self.fields["name"],
            "DSTACK_RUN_ID": "run-1",
            "DSTACK_JOB_ID": f"job-{rank}",
            "DSTACK_NODE_RANK": str(rank),
            "DSTACK_NODES_NUM": str(nodes),
            "DSTACK_GPUS_PER_NODE": "0",
            "DSTACK_GPUS_NUM": "0",
            "DSTACK_WORKING_DIR": str(workdir),
            "CUDA_VISIBLE_DEVICES": "",
            **given,
            **more,
        }

    def values(self, rank: int) -> dict[str, str]:
        """Return the parameters that a node has from the task's ``matrix``; none without one."""
        matrix = load_task(self.path, Options(), {}).spec.matrix
        return {} if matrix is None else matrix.values(rank)

    def start(self, rank: int, nodes: int, **more: str) -> subprocess.Popen[str]:
        """Start one node in a directory of its own; ``more`` is further environment."""
        workdir = self.home / f"work-{self.fields['name']}-{rank}"
        shutil.rmtree(workdir, ignore_errors=True)
        workdir.mkdir(parents=True)
        for name in self.fields["files"]:
            shutil.copy(self.path.parent / name, workdir / name)
        return subprocess.Popen(
            ["sh", "-ec", "\n".join(fill(command, self.values(rank)) for command in self.fields["commands"])],
            cwd=workdir,
            env=self.environment(rank, nodes, workdir, **more),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, rank: int = 0, nodes: int = 1, **more: str) -> Ended:
        """Run one node to its end."""
        return finish(self.start(rank, nodes, **more))

    def run_group(self, nodes: int, **more: str) -> list[Ended]:
        """Run all nodes of a ``cluster`` group at once on the loop-back; return them in rank order."""
        group = cluster_environment(nodes)
        started = [self.start(rank, nodes, **group, **more) for rank in range(nodes)]
        return [finish(process) for process in started]


def example(name: str, home: Path) -> Task:
    """Return the example ``name`` (like ``any/search.yml``)."""
    path = EXAMPLES / name
    return Task(path, home, YAML(typ="safe").load(path))


def finish(process: subprocess.Popen[str]) -> Ended:
    """Wait for a node's end; kill its whole tree when it takes too long."""
    try:
        out, err = process.communicate(timeout=LIMIT)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        process.communicate()
        raise
    return Ended(process.returncode, out, err)


def cluster_environment(nodes: int) -> dict[str, str]:
    """Return what ``placement: cluster`` adds, for a group on this machine's loop-back."""
    return {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
        "DSTACK_MASTER_NODE_IP": "127.0.0.1",
        "DSTACK_NODES_IPS": "\n".join(["127.0.0.1"] * nodes),
        "GLOO_SOCKET_IFNAME": "lo",
        "NCCL_SOCKET_IFNAME": "lo",
    }


def free_port() -> int:
    """Return a port of the loop-back that nobody listens on just now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def numbers(line: str) -> dict[str, str]:
    """Return the result line's words as pairs: ``rank 1 loss 0.5`` is ``{"rank": "1", "loss": "0.5"}``."""
    words = line.split()
    return dict(zip(words[0::2], words[1::2], strict=False))


def require_module(name: str, package: str) -> None:
    """Skip unless the Python that runs the examples can import ``name``."""
    found = subprocess.run([sys.executable, "-c", f"import {name}"], capture_output=True, check=False)
    if found.returncode:
        missing(f"the Python module {name}", f"install it with: pip install {package}")


def require_program(name: str, package: str) -> None:
    """Skip unless the program ``name`` is on the path."""
    if shutil.which(name) is None:
        missing(f"the program {name}", f"install it with: apt-get install {package}")
