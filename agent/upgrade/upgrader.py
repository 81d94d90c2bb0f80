"""Carries out the coordinator's orders to upgrade, beside the agent's other work, and tells how far it is."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import structlog

from agent.archive import ArchiveError, FetchCut
from agent.installation import FILE_NAME, Installation, InstallationDamaged, NotInstalled, Supervisor, load
from agent.lock import holder
from agent.supervisor.standing import PID_FILE
from agent.upgrade import install
from agent.upgrade.install import InstallFailed, Wanted
from agent.upgrade.trial import (
    Order,
    Progress,
    Step,
    Trial,
    end_trial,
    forget_ended,
    read_ended,
    read_trial,
    watch_trial,
    write_trial,
)

log = structlog.get_logger()

# A new version that is in contact for so long, with an answered report, has proved itself.
PROOF_SECONDS = 3.0
RETRY_SECONDS = 2.0

_BUSY = "it is still busy with an earlier upgrade; try again"
_ANEW = "install it with the line of 'coordinator token create --show-install', which upgrades too"


class CannotUpgrade(Exception):
    """This agent can't upgrade itself; the message says why, and what to do instead."""


class Upgrader:
    """The upgrades of the agent of ``state_dir``.

    ``fetch(sha256)`` gives a wheel's bytes (it may raise FetchCut, ArchiveError), ``tell`` is called at each step;
    ``is_proven`` says whether the agent is in contact and was answered.
    """

    def __init__(
        self,
        state_dir: Path,
        fetch: Callable[[str], AsyncIterator[bytes]],
        tell: Callable[[Progress], None],
        is_proven: Callable[[], bool],
        environment: Path | None = None,
    ) -> None:
        self._dir = state_dir
        self._fetch = fetch
        self._tell = tell
        self._is_proven = is_proven
        self._own = environment or install.own_environment()
        self._task: asyncio.Task[None] | None = None
        self._number = 0
        try:
            self._installation: Installation | None = _installation_of(self._own, state_dir)
            self._problem = ""
        except CannotUpgrade as error:
            self._installation, self._problem = None, str(error)

    @property
    def build(self) -> str:
        """The name of the version that runs; empty if it can't upgrade itself."""
        return self._own.name if self._installation is not None else ""

    def begin(self) -> None:
        """The agent starts: how an upgrade ended is to be told."""
        ended = read_ended(self._dir)
        if ended is not None:
            self._tell(ended)

    def told(self, progress: Progress) -> None:
        """The coordinator knows."""
        if read_ended(self._dir) == progress:
            with contextlib.suppress(OSError):
                forget_ended(self._dir)

    def order(self, order: Order) -> None:
        """Carry it out, unless it is being carried out or has been."""
        if self._task is not None and not self._task.done():
            if order.number != self._number:
                self._tell(Progress(order.number, Step.FAILED, _BUSY))
            return
        ended, trial = read_ended(self._dir), read_trial(self._dir)
        if ended is not None and ended.number == order.number:
            self._tell(ended)
        elif trial is not None and trial.number != order.number:
            self._tell(Progress(order.number, Step.FAILED, _BUSY))
        elif trial is not None:
            self._tell(Progress(order.number, Step.RESTARTING))
        elif order.name == self.build:
            self._tell(Progress(order.number, Step.DONE))
        else:
            self._number = order.number
            self._task = asyncio.create_task(self._carry_out(order))

    async def close(self) -> None:
        """Leave what is under way; it is ordered again at the next session."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def prove(self) -> None:
        """End the trial of this very version once it has been in contact for a moment; returns then, or if none is."""
        trial = read_trial(self._dir)
        if trial is None or trial.new != self.build:
            return
        since: float | None = None
        while since is None or time.monotonic() - since < PROOF_SECONDS:
            await asyncio.sleep(0.1)
            since = (since or time.monotonic()) if self._is_proven() else None
        ended = Progress(trial.number, Step.DONE)
        noted = await asyncio.to_thread(self._ended, ended)
        while not noted:
            await asyncio.sleep(RETRY_SECONDS)
            noted = await asyncio.to_thread(self._ended, ended)
        log.info("upgrade.done", version=trial.new, before=trial.old)
        self._tell(ended)
        if self._installation is not None:
            removed = await asyncio.to_thread(install.prune, self._installation, {trial.new, trial.old})
            log.info("upgrade.pruned", removed=removed)

    def _ended(self, ended: Progress) -> bool:
        try:
            end_trial(self._dir, ended)
        except OSError as error:
            # A full disk, say: work goes on, and the old version comes back unless there is room in time.
            log.warning("upgrade.not_noted", reason=str(error))
            return False
        return True

    # --- an order -------------------------------------------------------------------------------------------------

    async def _carry_out(self, order: Order) -> None:
        log.info("upgrade.ordered", version=order.name, number=order.number)
        try:
            installation = self._able()
            self._tell(Progress(order.number, Step.INSTALLING))
            await self._install(installation, order)
            await asyncio.to_thread(self._begin_trial, installation, order)
        except FetchCut as cut:
            # It is ordered again with the next session.
            log.warning("upgrade.cut", reason=str(cut))
        except (CannotUpgrade, InstallFailed, ArchiveError, OSError) as error:
            reason = _reason(error)
            log.error("upgrade.failed", version=order.name, reason=reason)
            self._tell(Progress(order.number, Step.FAILED, reason))
        else:
            self._tell(Progress(order.number, Step.RESTARTING))

    def _able(self) -> Installation:
        """Raises CannotUpgrade."""
        if self._installation is None:
            raise CannotUpgrade(self._problem)
        for folder in (self._installation.prefix, self._installation.versions):
            if not os.access(folder, os.W_OK, effective_ids=True):
                raise CannotUpgrade(f"cannot upgrade itself: its user can't write to {folder}; run as root: {_ANEW}")
        if self._installation.supervisor is Supervisor.BACKGROUND and holder(self._dir / PID_FILE) is None:
            raise CannotUpgrade("cannot upgrade itself: nobody would start it again; have it run by 'agent start'")
        return self._installation

    async def _install(self, installation: Installation, order: Order) -> None:
        deadline = time.monotonic() + order.seconds
        with tempfile.TemporaryDirectory(dir=installation.prefix, prefix=".upgrade.") as folder:
            wheel = Path(folder) / "wheel.whl"
            async with asyncio.timeout(order.seconds):
                await self._download(order, wheel)
            wanted = Wanted(order.name, order.version, wheel, self._own, deadline)
            await asyncio.to_thread(install.install, installation, wanted)

    async def _download(self, order: Order, path: Path) -> None:
        digest, size = hashlib.sha256(), 0
        with path.open("wb") as file:
            async for piece in self._fetch(order.sha256):
                size += len(piece)
                if size > order.size:
                    break
                digest.update(piece)
                await asyncio.to_thread(file.write, piece)
        if size != order.size or digest.hexdigest() != order.sha256:
            raise InstallFailed(
                f"the wheel that came is not the one that was ordered (SHA-256 {digest.hexdigest()[:12]}…, not "
                f"{order.sha256[:12]}…): nothing was installed"
            )

    def _begin_trial(self, installation: Installation, order: Order) -> None:
        write_trial(self._dir, Trial(order.number, str(installation.prefix), self._own.name, order.name, order.trial))
        watch_trial(self._dir)


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "the wheel did not come in time; the old version runs on"
    if isinstance(error, OSError):
        return f"{error.strerror or error} ({error.filename}); the old version runs on"
    return str(error)


def _installation_of(environment: Path, state_dir: Path) -> Installation:
    """The installation that the environment belongs to. Raises CannotUpgrade."""
    if environment.parent.name != "versions" or not (environment.parent.parent / FILE_NAME).exists():
        raise CannotUpgrade(
            f"cannot upgrade itself: it runs from {environment} and was not installed by the installer; upgrade it as "
            f"it was installed, or {_ANEW}"
        )
    try:
        found = load(environment.parent.parent)
    except (InstallationDamaged, NotInstalled) as error:
        raise CannotUpgrade(f"cannot upgrade itself: {error}") from None
    if found.state_dir.resolve() != state_dir.resolve():
        raise CannotUpgrade(
            f"cannot upgrade itself: {found.prefix} was installed for the agent of {found.state_dir}, not for this one "
            f"of {state_dir}"
        )
    return found
