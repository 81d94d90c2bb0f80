"""InfiniBand and RoCE ports, from made-up trees of /sys."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.hardware import RdmaPort
from agent.hardware.rdma import rdma_ports


def device(sys: Path, name: str, port: int = 1, **files: str) -> None:
    folder = sys / "class/infiniband" / name / "ports" / str(port)
    folder.mkdir(parents=True)
    for file, text in files.items():
        (folder / file).write_text(text)


def test_a_host_without_such_devices_has_none(tmp_path: Path) -> None:
    assert rdma_ports(tmp_path) == ()


def test_ports_as_the_kernel_writes_them(tmp_path: Path) -> None:
    device(tmp_path, "mlx5_1", state="4: ACTIVE\n", link_layer="Ethernet\n", rate="100 Gb/sec (4X EDR)\n")
    device(tmp_path, "mlx5_0", 2, state="1: DOWN\n", link_layer="InfiniBand\n", rate="2.5 Gb/sec (1X SDR)\n")
    device(tmp_path, "mlx5_0", 1, state="2: INIT\n", link_layer="InfiniBand\n", rate="400 Gb/sec (4X NDR)\n")
    assert rdma_ports(tmp_path) == (
        RdmaPort("mlx5_0", 1, "INIT", "InfiniBand", 400.0),
        RdmaPort("mlx5_0", 2, "DOWN", "InfiniBand", 2.5),
        RdmaPort("mlx5_1", 1, "ACTIVE", "Ethernet", 100.0),
    )


def test_what_cannot_be_read_is_unknown(tmp_path: Path) -> None:
    device(tmp_path, "odd", state="4: ACTIVE\n")
    (tmp_path / "class/infiniband/odd/ports/gid").mkdir()
    (tmp_path / "class/infiniband/noports").mkdir()
    assert rdma_ports(tmp_path) == (RdmaPort("odd", 1, "ACTIVE", "", None),)


@given(rate=st.binary(max_size=20))
def test_no_rate_is_made_up(rate: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    sys = tmp_path_factory.mktemp("sys")
    device(sys, "d")
    (sys / "class/infiniband/d/ports/1/rate").write_bytes(rate)
    (port,) = rdma_ports(sys)
    assert port.rate_gbps is None or port.rate_gbps > 0
