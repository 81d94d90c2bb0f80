"""Limits of control groups, both versions, in containers and out of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from agent.hardware.cgroup import MemoryLimit, cpu_quota, memory_limit

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.timeout(60)

UNLIMITED = str(0x7FFFFFFFFFFFF000)


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return root


def test_version_2_takes_the_tightest_of_all_ancestors(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        {
            "proc/self/cgroup": "0::/user.slice/agent.service",
            "sys/fs/cgroup/user.slice/cpu.max": "150000 100000",
            "sys/fs/cgroup/user.slice/memory.max": "max",
            "sys/fs/cgroup/user.slice/agent.service/cpu.max": "max 100000",
            "sys/fs/cgroup/user.slice/agent.service/memory.max": "1000",
            "sys/fs/cgroup/user.slice/agent.service/memory.current": "700",
            "sys/fs/cgroup/user.slice/agent.service/memory.stat": "anon 300\ninactive_file 400",
        },
    )
    assert cpu_quota(root) == 1.5
    assert memory_limit(root) == MemoryLimit(limit=1000, used=300)


def test_version_1_in_a_container_that_sees_the_hosts_path(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        {
            "proc/self/cgroup": "4:memory:/docker/abc\n1:cpu,cpuacct:/docker/abc",
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "50000",
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "1000",
            "sys/fs/cgroup/memory/memory.usage_in_bytes": "200",
            "sys/fs/cgroup/memory/memory.stat": "cache 50\ntotal_inactive_file 50",
        },
    )
    assert cpu_quota(root) == 0.5
    assert memory_limit(root) == MemoryLimit(limit=1000, used=150)


def test_no_limit_is_none(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        {
            "proc/self/cgroup": "4:memory:/\n1:cpu:/\n0::/",
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1",
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": UNLIMITED,
        },
    )
    assert (cpu_quota(root), memory_limit(root)) == (None, None)


@pytest.mark.parametrize("content", ["", "nonsense", "max", "1 0"])
def test_files_that_make_no_sense_are_no_limit(tmp_path: Path, content: str) -> None:
    root = tree(
        tmp_path,
        {
            "proc/self/cgroup": "0::/",
            "sys/fs/cgroup/cpu.max": content,
            "sys/fs/cgroup/memory.max": content,
            "sys/fs/cgroup/memory.current": content,
        },
    )
    assert (cpu_quota(root), memory_limit(root)) == (None, None)


def test_no_control_groups_at_all(tmp_path: Path) -> None:
    assert (cpu_quota(tmp_path), memory_limit(tmp_path)) == (None, None)
