"""An upgrade of hosts' agents as records: the release, the roll-out, and where each host of it stands."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from coordinator.core.ids import HostId


@dataclass(frozen=True, slots=True)
class Release:
    """What hosts are upgraded to: a wheel of ``size`` bytes. ``build`` is the name of an installed one."""

    version: str
    build: str
    sha256: str
    size: int


class RolloutState(Enum):
    """Where a roll-out stands; all but the first are final."""

    RUNNING = "running"
    DONE = "done"
    STOPPED = "stopped"
    CANCELLED = "cancelled"


class Step(Enum):
    """Where a host stands; the last four are final."""

    WAITING = "waiting"
    ORDERED = "ordered"
    INSTALLING = "installing"
    RESTARTING = "restarting"
    DONE = "done"
    ROLLED_BACK = "rolled-back"
    FAILED = "failed"
    SKIPPED = "skipped"


BUSY = (Step.ORDERED, Step.INSTALLING, Step.RESTARTING)
FAILURES = (Step.ROLLED_BACK, Step.FAILED)


@dataclass(frozen=True, slots=True)
class Rollout:
    """An upgrade to one release, ``batch`` hosts at a time, each of which has ``install_seconds`` to install it.

    More than ``max_failures`` failures stop it.
    """

    number: int
    version: str
    build: str
    sha256: str
    size: int
    batch: int
    max_failures: int
    install_seconds: float
    user: str
    started_at: float
    state: RolloutState = RolloutState.RUNNING
    reason: str = ""
    ended_at: float = 0.0


@dataclass(frozen=True, slots=True)
class HostUpgrade:
    """A host's part in roll-out ``rollout``, the ``place``-th in turn. ``from_build`` is what ran before.

    ``due_since`` is when (served time) it must have said how it ended; 0: it has not been ordered.
    """

    host_id: HostId
    rollout: int
    place: int
    step: Step = Step.WAITING
    reason: str = ""
    from_build: str = ""
    due_since: float = 0.0
    changed_at: float = 0.0


class Rollouts:
    """The last roll-out and its hosts, by step in the order of their turns."""

    __slots__ = ("_by_step", "_hosts", "last")

    def __init__(self) -> None:
        self.last: Rollout | None = None
        self._hosts: dict[HostId, HostUpgrade] = {}
        self._by_step: dict[Step, dict[HostId, None]] = {step: {} for step in Step}

    def take(self, rollout: Rollout) -> None:
        """A roll-out began or changed; those of before are over."""
        if self.last is None or rollout.number > self.last.number:
            self._hosts.clear()
            for hosts in self._by_step.values():
                hosts.clear()
        if self.last is None or rollout.number >= self.last.number:
            self.last = rollout

    def put(self, upgrade: HostUpgrade) -> None:
        """Where a host stands now; of an earlier roll-out it is passed over."""
        if self.last is None or upgrade.rollout != self.last.number:
            return
        known = self._hosts.get(upgrade.host_id)
        if known is not None:
            del self._by_step[known.step][upgrade.host_id]
        self._hosts[upgrade.host_id] = upgrade
        self._by_step[upgrade.step][upgrade.host_id] = None

    def forget(self, host_id: HostId) -> None:
        """The host is no more."""
        known = self._hosts.pop(host_id, None)
        if known is not None:
            del self._by_step[known.step][host_id]

    def of(self, host_id: HostId) -> HostUpgrade | None:
        """The host's part in the last roll-out, if it has one."""
        return self._hosts.get(host_id)

    def all(self) -> list[HostUpgrade]:
        """Every host's, in the order of their turns."""
        return sorted(self._hosts.values(), key=lambda upgrade: upgrade.place)

    def at(self, *steps: Step) -> Iterator[HostUpgrade]:
        """Those that stand at one of these steps."""
        return (self._hosts[host_id] for step in steps for host_id in self._by_step[step])

    def count(self, *steps: Step) -> int:
        """How many stand at one of these steps."""
        return sum(len(self._by_step[step]) for step in steps)
