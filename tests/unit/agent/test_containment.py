"""What is said of a host's control groups, and those of version 2 with memory: as files, for want of real ones."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agent.containment import Containment, briefly, containment, examine, isolation, limits_finding
from agent.core.model import AllocationId, Observed, Phase
from agent.spawner import hierarchies
from agent.spawner.group import MEMORY, UNIFIED, Group
from agent.spawner.memory import size, verdict


@pytest.mark.parametrize(
    ("held", "said"),
    [
        ({"trees": "cgroup v2", "memory": "cgroup v1", "reason": ""}, "cgroup v2, memory limits by cgroup v1"),
        ({"trees": "cgroup v2", "memory": "", "reason": "why"}, "cgroup v2, no memory limits (why)"),
        (
            {"trees": "", "memory": "", "reason": "switched off"},
            "marks in the processes, no memory limits (switched off)",
        ),
    ],
)
def test_what_is_held_in_words(held: dict[str, object], said: str) -> None:
    assert isolation(held) == said


def test_what_is_stuck_is_a_warning_as_long_as_it_is() -> None:
    key = AllocationId("j-1.0.1")
    stuck = Observed(key, Phase.STOPPING, reason="processes that cannot be killed: 7 (x)")
    news = {"ev": "stuck", "id": key, "reason": stuck.reason}
    known = containment(Containment({"trees": "cgroup v2"}), [news], [stuck])
    assert known.stuck == ("j-1.0.1: processes that cannot be killed: 7 (x)",)
    assert containment(known, [], [Observed(key, Phase.ENDED, reason="exit code 1")]) == Containment(known.held)


def test_the_doctor_says_how_to_mend_it() -> None:
    finding, _ = examine(False, "weight")
    assert (finding.level, finding.topic) == ("warn", "processes")
    assert finding.text == "marks in the processes, no memory limits (switched off)"
    assert "cgroups = false" in finding.way_out


def test_what_is_not_held_is_said_once_and_short() -> None:
    reason = "; ".join(f"/sys/fs/cgroup/{kind}/rallypoint-x: Permission denied" for kind in ("unified", "cpu", "pids"))
    unheld = {name: ("", f"no {name} controller that its agent may use ({reason})") for name in ("cpu", "pids")}
    finding = limits_finding({**unheld, "shm": ("", "no mounts (why)")})
    assert finding.text == (
        "not held here: cpu, pids: no control group may be made (Permission denied); shm: no mounts (why)"
    )
    assert reason in finding.detail
    assert briefly("no control groups (x) are mounted") == "no control groups (x) are mounted"


def version_2(folder: Path, *, delegated: bool) -> hierarchies.Hierarchy:
    """A hierarchy in ``folder`` as systemd lays it out for a unit; ``delegated`` with DelegateSubgroup."""
    home = folder / "system.slice/rallypoint-agent.service"
    home = home / hierarchies.SUBGROUP if delegated else home
    home.mkdir(parents=True)
    found = hierarchies._hierarchy(
        UNIFIED, "x", {UNIFIED: ("/", str(folder))}, {UNIFIED: f"/{home.relative_to(folder)}"}
    )
    assert found is not None
    for level in (Path(found.base).parent, Path(found.base)):
        level.mkdir(exist_ok=True)
        (level / "cgroup.controllers").write_text("cpu memory pids\n")
        (level / "cgroup.subtree_control").write_text("")
    return found


def test_limits_are_handed_down_beside_our_own_processes(tmp_path: Path) -> None:
    found = version_2(tmp_path, delegated=True)
    service = tmp_path / "system.slice/rallypoint-agent.service"
    assert (found.base, found.home) == (str(service / "rallypoint-x"), str(service / "supervisor"))
    assert (found.make(), found.memory) == ("", True)
    assert (service / "cgroup.subtree_control").read_text() == "+cpu +memory +pids"
    assert (service / "rallypoint-x/cgroup.subtree_control").read_text() == "+cpu +memory +pids"


def test_a_group_that_may_not_hand_it_down_is_used_without(tmp_path: Path) -> None:
    found = version_2(tmp_path, delegated=False)
    control = tmp_path / "system.slice/rallypoint-agent.service/cgroup.subtree_control"
    # As the kernel refuses it, for our own process is in that group.
    control.unlink()
    control.mkdir()
    assert (found.make(), found.memory) == ("", False)


def test_a_container_sees_its_own_part_of_the_tree(tmp_path: Path) -> None:
    mounts = {MEMORY: ("/docker/abc", str(tmp_path))}
    for own in ("/docker/abc", "/", "/docker/other"):
        found = hierarchies._hierarchy(MEMORY, "x", mounts, {MEMORY: own})
        assert found is not None
        assert found.base == f"{tmp_path}/rallypoint-x"
    assert hierarchies._hierarchy(MEMORY, "x", {}, {MEMORY: "/"}) is None


def test_a_version_2_group_says_who_ran_out_of_memory(tmp_path: Path) -> None:
    for name in ("memory.max", "memory.swap.max", "cgroup.procs"):
        (tmp_path / name).touch()
    (tmp_path / "memory.events").write_text("low 0\nhigh 0\nmax 9\noom 1\noom_kill 1\n")
    (tmp_path / "memory.peak").write_text(f"{512 << 20}\n")
    group = Group({UNIFIED: str(tmp_path)})
    assert group.limit_memory(512 << 20)
    assert (tmp_path / "memory.max").read_text() == str(512 << 20)
    assert (tmp_path / "memory.swap.max").read_text() == "0"
    said = verdict(group, 512 << 20, os.getpid(), 0, 1)
    assert said == "out of memory: limit 512 MB, peak 512 MB"
    assert not group.reuse()
    (tmp_path / "memory.events").write_text("oom 1\noom_kill 0\n")
    assert verdict(group, 512 << 20, os.getpid(), 0, 1) == ""
    assert group.reuse()
    # What its last task used is not what the next one did.
    assert group.memory_peak() == 0


@pytest.mark.parametrize(("count", "text"), [(64 << 20, "64 MB"), (1 << 30, "1 GB"), (3 << 29, "1.5 GB")])
def test_sizes_are_those_of_task_files(count: int, text: str) -> None:
    assert size(count) == text
