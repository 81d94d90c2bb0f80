"""The `cluster` examples, each group run on the loop-back with the environment that a rendezvous gives."""

from __future__ import annotations

import os
import re
import signal
import socket
from pathlib import Path

import pytest

from tests.support import eventually
from tests.unit.examples.nodes import (
    LIMIT,
    Ended,
    Task,
    cluster_environment,
    example,
    finish,
    numbers,
    require_module,
    require_program,
)

RANK_LINE = re.compile(r"^rank .*", re.MULTILINE)


def final_lines(ended: list[Ended]) -> list[dict[str, str]]:
    """Return each node's last words, after checking that all ended well."""
    assert [node.code for node in ended] == [0] * len(ended), [node.err for node in ended]
    return [numbers(line) for node in ended for line in RANK_LINE.findall(node.out)]


def losses(node: Ended, word: str) -> list[float]:
    """Return the losses that rank 0 printed, in order."""
    return [float(numbers(line)["loss"]) for line in node.out.splitlines() if line.startswith(f"{word} ")]


class TestParameterServer:
    @pytest.fixture
    def task(self, tmp_path: Path) -> Task:
        require_module("numpy, sklearn", "numpy scikit-learn")
        return example("cluster/parameter-server.yml", tmp_path)

    @pytest.mark.parametrize("nodes", [2, 4])
    def test_loss_falls_and_all_ranks_agree(self, task: Task, nodes: int) -> None:
        ended = task.run_group(nodes)

        lines = final_lines(ended)
        assert [line["rank"] for line in lines] == [str(rank) for rank in range(nodes)]
        assert len({(line["loss"], line["params"]) for line in lines}) == 1
        seen = losses(ended[0], "step")
        assert seen[0] > 2.0
        assert seen == sorted(seen, reverse=True)
        assert seen[-1] < 0.5

    def test_server_without_workers_says_what_it_needs(self, task: Task) -> None:
        (ended,) = task.run_group(1)
        assert ended.code == 1
        assert ended.err == "a parameter server needs a worker: submit with nodes: 2 or more\n"

    def test_server_ignores_who_only_tries_its_port(self, task: Task) -> None:
        group = cluster_environment(2)
        server = task.start(0, 2, **group)
        address = (group["MASTER_ADDR"], int(group["MASTER_PORT"]))
        eventually(lambda: connects_and_leaves(address), timeout=LIMIT, what="a listening server")

        worker = task.start(1, 2, **group)
        assert len(final_lines([finish(server), finish(worker)])) == 2

    def test_dead_worker_ends_the_server_with_one_line(self, task: Task) -> None:
        group = cluster_environment(2)
        server = task.start(0, 2, **group, STEPS="1000000")
        worker = task.start(1, 2, **group, STEPS="1000000")
        assert server.stdout is not None
        assert server.stdout.readline().startswith("step 1 ")
        os.killpg(worker.pid, signal.SIGKILL)
        finish(worker)

        ended = finish(server)
        assert ended.code == 1
        assert ended.err.startswith("rank 0: ")
        assert ended.err.count("\n") == 1


class TestDdp:
    @pytest.fixture
    def task(self, tmp_path: Path) -> Task:
        require_module("torch, sklearn", "torch scikit-learn")
        return example("cluster/torchrun-ddp.yml", tmp_path)

    def test_loss_falls_and_a_resumed_run_ends_as_an_undisturbed_one(self, task: Task, tmp_path: Path) -> None:
        ended = task.run_group(2, EPOCHS="4", CHECKPOINT_DIR=str(tmp_path / "whole"))
        undisturbed = final_lines(ended)
        assert [line["rank"] for line in undisturbed] == ["0", "1"]
        assert len({(line["loss"], line["params"]) for line in undisturbed}) == 1
        seen = losses(ended[0], "epoch")
        assert len(seen) == 4
        assert seen == sorted(seen, reverse=True)
        assert seen[-1] < seen[0] / 4

        task.run_group(2, EPOCHS="2", CHECKPOINT_DIR=str(tmp_path / "half"))
        ended = task.run_group(2, EPOCHS="4", CHECKPOINT_DIR=str(tmp_path / "half"))
        assert ended[0].out.startswith("resumed after epoch 2\n")
        assert losses(ended[0], "epoch") == seen[2:]
        assert final_lines(ended) == undisturbed


class TestMpi:
    @pytest.fixture
    def task(self, tmp_path: Path) -> Task:
        require_module("numpy, sklearn", "numpy scikit-learn")
        require_program("mpirun", "openmpi-bin")
        require_program("mpicc", "libopenmpi-dev")
        return example("cluster/mpi.yml", tmp_path)

    @pytest.mark.parametrize("slots", [1, 3])
    def test_every_count_of_processes_finds_the_same_centres(self, task: Task, tmp_path: Path, slots: int) -> None:
        ended = run_master(task, tmp_path, slots)

        lines = final_lines([ended])
        assert sorted(line["rank"] for line in lines) == [str(rank) for rank in range(slots)]
        assert {(line["inertia"], line["centres"]) for line in lines} == {("1218864.510", "3121.88318949")}
        assert sum(int(line["images"]) for line in lines) == 1797

    def test_other_nodes_wait_until_they_are_stopped(self, task: Task) -> None:
        waiting = task.start(1, 2, **cluster_environment(2))
        os.killpg(waiting.pid, signal.SIGTERM)
        assert finish(waiting) == Ended(-signal.SIGTERM, "", "")


def connects_and_leaves(address: tuple[str, int]) -> bool:
    """Tell whether somebody listens there, as a port scanner would."""
    with socket.socket() as scanner:
        return scanner.connect_ex(address) == 0


def run_master(task: Task, tmp_path: Path, slots: int) -> Ended:
    """Run node 0 of the MPI example with this machine as its only host."""
    hostfile = tmp_path / "hostfile"
    hostfile.write_text(f"127.0.0.1 slots={slots}\n")
    return task.run(
        0,
        1,
        **cluster_environment(1),
        DSTACK_MPI_HOSTFILE=str(hostfile),
        OMPI_ALLOW_RUN_AS_ROOT="1",
        OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1",
        OMPI_MCA_mpi_yield_when_idle="1",
        OMPI_MCA_btl="self,tcp",
        OMPI_MCA_rmaps_base_oversubscribe="1",
    )
