"""What is known of this host's hardware when several look at it at once."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from agent.config import Settings
from agent.disks import Disks
from agent.hardware.model import GpuReading
from agent.hardware_now import HardwareNow
from agent.health.station import Station
from agent.places import Places
from agent.surroundings import Surroundings
from agent.users import HostUsers, only_own

GREETING = {"ev": "snapshot", "records": {}, "held": {"trees": "cgroup v2", "memory": "cgroup v2", "reason": ""}}


class SlowDriver:
    """Answers when it is let."""

    def __init__(self) -> None:
        self.asked, self.may_answer = asyncio.Event(), asyncio.Event()

    async def read(self) -> GpuReading:
        self.asked.set()
        await self.may_answer.wait()
        return GpuReading()


def hardware_now(folder: Path, driver: Any) -> HardwareNow:
    async def tester(_: object) -> dict[str, str]:
        return {}

    users = HostUsers(only_own())
    settings = Settings(state_dir=folder, containers="off")
    around = Surroundings(settings, Places(folder), {}, lambda: None, users.known.task)
    station = Station(folder, lambda: None, tester)
    return HardwareNow(driver, Disks([str(folder)], None), station, users, around, "weight")


def test_what_the_spawner_says_while_the_driver_is_asked_counts(tmp_path: Path) -> None:
    async def scenario() -> None:
        driver = SlowDriver()
        now = hardware_now(tmp_path, driver)
        reading = asyncio.create_task(now.read())
        await driver.asked.wait()
        assert now.hear([GREETING], []) is None, "there is no report yet that could change"
        driver.may_answer.set()
        assert (await reading).isolation == "cgroup v2, memory limits by cgroup v2"

    asyncio.run(scenario())


def test_only_news_that_change_the_report_make_another_one(tmp_path: Path) -> None:
    async def scenario() -> None:
        driver = SlowDriver()
        driver.may_answer.set()
        now = hardware_now(tmp_path, driver)
        first = await now.read()
        assert now.hear([{"ev": "started", "id": "j-1.0.1"}], []) is None
        told = now.hear([GREETING], [])
        assert told is not None
        assert (first.isolation, told.isolation) == ("", "cgroup v2, memory limits by cgroup v2")
        assert await now.fresh() is told

    asyncio.run(scenario())
