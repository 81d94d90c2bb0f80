"""Orders to upgrade, as the agent takes them: what it refuses, what it repeats, and what it tells of it."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from agent.archive import ArchiveError, FetchCut
from agent.installation import Installation, Mode, Supervisor, save
from agent.lock import PidLock
from agent.supervisor.standing import PID_FILE
from agent.upgrade import upgrader
from agent.upgrade.trial import Order, Progress, Step, Trial, read_ended, read_trial, write_ended, write_trial
from agent.upgrade.upgrader import Upgrader
from tests.fakes.small_disk import fill, mounted

OWN = "0.1.0-aaaaaaaa"
CONTENT = b"no wheel at all"
SHA256 = hashlib.sha256(CONTENT).hexdigest()


def order(number: int = 1, sha256: str = SHA256, size: int = len(CONTENT)) -> Order:
    return Order(number, "0.2.0", sha256, size, seconds=30.0, trial=5.0)


class Agent:
    """An installed agent's upgrader; the wheel comes in ``pieces``."""

    def __init__(self, folder: Path) -> None:
        self.state = folder / "state"
        self.state.mkdir()
        self.prefix = folder / "prefix"
        self.environment = self.prefix / "versions" / OWN
        self.environment.mkdir(parents=True)
        save(Installation(self.prefix, Mode.USER, Supervisor.BACKGROUND, self.state, "", "", "", "python3"))
        self.told: list[Progress] = []
        self.pieces: list[bytes | Exception] = [CONTENT]
        self.taken = 0
        self.hold: asyncio.Event | None = None

    def upgrader(self, environment: Path | None = None) -> Upgrader:
        return Upgrader(self.state, self._fetch, self.told.append, lambda: True, environment or self.environment)

    async def _fetch(self, _sha256: str) -> AsyncIterator[bytes]:
        if self.hold is not None:
            await self.hold.wait()
        for piece in self.pieces:
            self.taken += 1
            if isinstance(piece, Exception):
                raise piece
            yield piece

    def carry_out(self, *orders: Order) -> list[Progress]:
        """All that is told of these orders, given one after the other."""

        async def scenario() -> None:
            made = self.upgrader()
            for each in orders:
                made.order(each)
                await asyncio.gather(*([made._task] if made._task else []))

        asyncio.run(scenario())
        told, self.told = self.told, []
        return told

    def left(self) -> list[str]:
        """What is in the installation but what was there."""
        return [p.name for p in (*self.prefix.iterdir(), *self.environment.parent.iterdir()) if p.name not in KNOWN]


KNOWN = {"install.json", "versions", OWN}


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    """Its supervisor lives: its lock is held."""
    made = Agent(tmp_path)
    with PidLock(made.state / PID_FILE, "{pid}"):
        yield made


def failure(told: list[Progress]) -> str:
    """Why it failed, which is the last that was told."""
    assert told[-1].step is Step.FAILED
    return told[-1].reason


@pytest.mark.parametrize(
    ("pieces", "taken"), [([b"something else!"], 1), ([CONTENT, b"more"], 2), ([b"no"], 1), ([bytes(99), b"never"], 1)]
)
def test_a_wheel_that_is_not_the_one_that_was_ordered_is_not_installed(
    agent: Agent, pieces: list[bytes | Exception], taken: int
) -> None:
    agent.pieces = pieces
    told = agent.carry_out(order())
    assert told[0] == Progress(1, Step.INSTALLING)
    assert "is not the one that was ordered" in failure(told)
    assert f"not {SHA256[:12]}…): nothing was installed" in failure(told)
    assert agent.taken == taken, "no more is fetched than was promised"
    assert agent.left() == []


def test_what_cannot_be_fetched_or_is_no_wheel_fails_with_the_reason(agent: Agent) -> None:
    agent.pieces = [ArchiveError("the wheel could not be fetched: this coordinator is another one now")]
    assert "is another one now" in failure(agent.carry_out(order()))
    agent.pieces = [CONTENT]
    assert "is no wheel" in failure(agent.carry_out(order()))
    assert agent.left() == []


def test_one_that_is_cut_off_is_begun_again_with_the_next_order(agent: Agent) -> None:
    agent.pieces = [CONTENT[:3], FetchCut("the session ended")]
    assert agent.carry_out(order()) == [Progress(1, Step.INSTALLING)]
    assert agent.left() == []
    agent.pieces = [CONTENT]
    assert "is no wheel" in failure(agent.carry_out(order()))


def test_the_same_order_twice_is_one_and_another_one_waits_its_turn(agent: Agent) -> None:
    async def scenario() -> None:
        agent.hold = asyncio.Event()
        made = agent.upgrader()
        made.order(order(1))
        await asyncio.sleep(0)
        made.order(order(1))
        made.order(order(2))
        assert agent.told[-1] == Progress(2, Step.FAILED, "it is still busy with an earlier upgrade; try again")
        agent.hold.set()
        await asyncio.gather(made._task or asyncio.sleep(0))
        assert [progress.number for progress in agent.told] == [1, 2, 1]

    asyncio.run(scenario())
    assert agent.taken == 1


def test_nobody_would_start_it_again(tmp_path: Path) -> None:
    unsupervised = Agent(tmp_path)
    assert "have it run by 'agent start'" in failure(unsupervised.carry_out(order()))
    assert unsupervised.taken == 0


def test_a_checkout_and_an_agent_of_another_place_are_told_the_way_out(agent: Agent, tmp_path: Path) -> None:
    checkout = tmp_path / "checkout/.venv"
    checkout.mkdir(parents=True)
    for environment, said in (
        (checkout, "was not installed by the installer"),
        (agent.environment, "was installed for"),
    ):
        if environment is agent.environment:
            agent.state = tmp_path / "elsewhere"
            agent.state.mkdir()
        made = agent.upgrader(environment)
        assert made.build == ""

        async def scenario(made: Upgrader = made) -> None:
            made.order(order())
            await asyncio.gather(made._task or asyncio.sleep(0))

        asyncio.run(scenario())
        assert said in failure(agent.told)
        assert failure(agent.told).startswith("cannot upgrade itself: ")


def test_what_has_been_carried_out_is_told_again_and_not_done_again(agent: Agent) -> None:
    own = Order(3, "0.1.0", "aaaaaaaa" + SHA256[8:], 1, 30.0, 5.0)
    assert agent.carry_out(own) == [Progress(3, Step.DONE)]
    write_trial(agent.state, Trial(4, str(agent.prefix), "older", OWN, 5.0))
    assert agent.carry_out(order(4)) == [Progress(4, Step.RESTARTING)]
    assert "still busy with an earlier upgrade" in failure(agent.carry_out(order(5)))
    (agent.state / "upgrade.json").unlink()
    back = Progress(5, Step.ROLLED_BACK, "it can't start")
    write_ended(agent.state, back)
    assert agent.carry_out(order(5)) == [back]
    made = agent.upgrader()
    made.begin()
    assert agent.told == [back], "an agent that has just started says it by itself"
    made.told(Progress(5, Step.INSTALLING))
    assert read_ended(agent.state) == back
    made.told(back)
    assert read_ended(agent.state) is None


def test_a_new_version_ends_its_trial_only_after_a_while_in_contact(
    agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upgrader, "PROOF_SECONDS", 0.3)
    (agent.prefix / "versions/older").mkdir()
    (agent.prefix / "versions/oldest").mkdir()
    write_trial(agent.state, Trial(6, str(agent.prefix), "older", OWN, 5.0))
    contact = iter([False, True, False, *[True] * 100])
    made = Upgrader(agent.state, agent._fetch, agent.told.append, lambda: next(contact), agent.environment)
    asyncio.run(made.prove())
    assert agent.told == [Progress(6, Step.DONE)]
    assert (read_trial(agent.state), read_ended(agent.state)) == (None, Progress(6, Step.DONE))
    assert sum(1 for _ in contact) < 100 - 3, "contact that was lost counts for nothing"
    assert agent.left() == ["older"], "the version before is kept, what was before that is not"


def test_a_full_disk_does_not_end_an_agent_on_trial(
    agent: Agent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upgrader, "PROOF_SECONDS", 0.0)
    monkeypatch.setattr(upgrader, "RETRY_SECONDS", 0.05)
    (tmp_path / "disk").mkdir()
    with mounted(tmp_path / "disk") as disk:
        write_trial(disk, Trial(6, str(agent.prefix), "older", OWN, 5.0))
        fill(disk / "ballast")

        async def scenario() -> None:
            made = Upgrader(agent.state, agent._fetch, agent.told.append, lambda: True, agent.environment)
            made._dir = disk
            proving = asyncio.create_task(made.prove())
            done, _ = await asyncio.wait([proving], timeout=0.5)
            assert not done
            assert agent.told == []
            (disk / "ballast").unlink()
            await asyncio.wait_for(proving, 20)

        asyncio.run(scenario())
        assert agent.told == [Progress(6, Step.DONE)]
        assert read_trial(disk) is None


def test_the_old_version_never_ends_a_trial(agent: Agent) -> None:
    trial = Trial(6, str(agent.prefix), OWN, "newer", 5.0)
    write_trial(agent.state, trial)
    asyncio.run(agent.upgrader().prove())
    assert read_trial(agent.state) == trial
    assert agent.told == []
