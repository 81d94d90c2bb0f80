"""The agent as systemd runs it, and the units in deploy/ as systemd reads them."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.fakes.agent_coordinator import any_node, pb, types
from tests.fakes.agent_process import lives, reaper_of, spawner_of
from tests.fakes.spawner_client import kill_spawner
from tests.support import eventually, missing
from tests.unit.agent.test_daemon import host

pytestmark = pytest.mark.timeout(90)

UNITS = sorted((Path(__file__).parents[3] / "deploy").glob("*.service"))
# A line for systemd 254 and later; an older one says so and goes on.
NEWER = "Unknown key 'DelegateSubgroup' in section [Service], ignoring."


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_has_nothing_to_say_about_a_unit(unit: Path, tmp_path: Path) -> None:
    """An unknown key is no error to it, so what it says counts and not its exit code."""
    tool = shutil.which("systemd-analyze")
    if tool is None:
        missing("systemd-analyze", "install the package 'systemd'")
    text, changed = re.subn(r"^ExecStart=\S+", "ExecStart=/bin/true", unit.read_text(), flags=re.MULTILINE)
    assert changed == 1
    (tmp_path / unit.name).write_text(text)
    done = subprocess.run(
        [tool, "verify", str(tmp_path / unit.name)], capture_output=True, text=True, timeout=60, check=False
    )
    assert [line for line in done.stderr.splitlines() if NEWER not in line] == []


@pytest.mark.parametrize(("name", "most"), [("rallypoint-agent", 8.4), ("rallypoint-coordinator", 3.2)])
def test_the_units_are_as_hard_as_the_documentation_says(name: str, most: float) -> None:
    tool = shutil.which("systemd-analyze")
    if tool is None:
        missing("systemd-analyze", "install the package 'systemd'")
    unit = UNITS[0].parent / f"{name}.service"
    command = [tool, "security", "--offline=true", "--no-pager", str(unit)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    found = re.search(r"Overall exposure level for \S+: (\d+\.\d)", done.stdout)
    assert found is not None, done.stderr
    # A newer systemd may judge by more: less than half a point of it.
    assert float(found[1]) <= most + 0.4


def test_the_units_keep_the_promises_that_need_systemd() -> None:
    texts = {unit.name.removesuffix(".service"): unit.read_text().splitlines() for unit in UNITS}
    agent, own, coordinator = (texts[f"rallypoint-{name}"] for name in ("agent", "agent-user", "coordinator"))
    assert {"KillMode=process", "Delegate=yes", "DelegateSubgroup=supervisor", "OOMPolicy=continue"} <= set(own)
    assert {"NoNewPrivileges=yes", "ProtectSystem=full", "StateDirectoryMode=0711"} <= set(agent)
    assert not [line for line in agent if line.startswith("User=")]
    for unit in (agent, own, coordinator):
        assert {"Type=notify", "Restart=always", "StartLimitIntervalSec=0", "WatchdogSec=30"} <= set(unit)
    assert {"KillMode=process", "Delegate=yes", "DelegateSubgroup=supervisor", "OOMPolicy=continue"} <= set(agent)


@contextmanager
def notify_socket(path: Path) -> Iterator[socket.socket]:
    """What systemd listens on."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(path))
        listener.settimeout(30)
        yield listener


async def said(listener: socket.socket, word: str) -> None:
    """Wait until the agent has said ``word``."""
    while word not in (await asyncio.to_thread(listener.recv, 4096)).decode().splitlines():
        pass


def test_a_service_that_is_stopped_and_started_finds_its_tasks(tmp_path: Path) -> None:
    """SIGTERM for the main process alone, as KillMode=process has it."""

    async def scenario(listener: socket.socket) -> None:
        environ = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "400000"}
        async with host(tmp_path, **environ) as (fake, process):
            await said(listener, "READY=1")
            await said(listener, "WATCHDOG=1")
            os.mkfifo(tmp_path / "gate")
            fake.want(any_node("j.0.1", "sh", "-c", f"echo $$; read x < {tmp_path}/gate; exit 6"))
            await fake.until(lambda: fake.logs.get("j.0.1"), "pid")
            fake.desired["j.0.1"].started = True
            above = reaper_of(process.state_dir), spawner_of(process.state_dir)
            assert await process.kill(signal.SIGTERM) == 0
            await said(listener, "STOPPING=1")
            assert (reaper_of(process.state_dir), spawner_of(process.state_dir)) == above
            assert lives(int(fake.logs["j.0.1"]))
            fake.statuses.clear()
            await process.start(**environ)
            await said(listener, "READY=1")
            await fake.running("j.0.1")
            await asyncio.to_thread((tmp_path / "gate").write_text, "go\n")
            assert (await fake.ended("j.0.1")).exit_code == 6

    with notify_socket(tmp_path / "notify") as listener:
        asyncio.run(scenario(listener))


def test_a_rebooted_host_says_so(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with host(tmp_path) as (fake, process):
            fake.want(any_node("j.0.1", "sh", "-c", "echo $$; exec sleep 1000"))
            await fake.until(lambda: fake.logs.get("j.0.1"), "pid")
            fake.desired["j.0.1"].started = True
            await process.kill()
            await asyncio.to_thread(kill_spawner, process.state_dir)
            pid = int(fake.logs["j.0.1"])
            os.kill(pid, signal.SIGKILL)
            await asyncio.to_thread(eventually, lambda: not lives(pid), what="its end")
            journal = process.state_dir / "spawner.journal"
            boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
            journal.write_text(journal.read_text().replace(boot, "0" * 8))
            fake.statuses.clear()
            await process.start()
            ended = await fake.ended("j.0.1")
            assert (ended.cause, ended.reason) == (pb.END_CAUSE_HOST, "lost: host rebooted")

    asyncio.run(scenario())


def test_a_memory_limit_reaches_the_kernel(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with host(tmp_path) as (fake, _):
            await fake.until(lambda: fake.opened, "a session")
            isolation = fake.opened[-1].hardware.isolation
            if "memory limits by" not in isolation:
                missing("a memory controller that may be written", f"run the tests as root ({isolation})")
            bounded = types.Resources(memory_bytes=types.IntRange(min=32 << 20, max=64 << 20))
            fake.want(any_node("j.0.1", "sh", "-c", "head -c 300000000 /dev/zero | tail", resources=bounded))
            ended = await fake.ended("j.0.1")
            assert ended.cause == pb.END_CAUSE_OUT_OF_MEMORY
            assert ended.reason == "out of memory: limit 64 MB, peak 64 MB"

    asyncio.run(scenario())
