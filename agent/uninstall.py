"""`agent uninstall`: the host leaves its cluster, everything of it ends, and what was installed is removed.

In this order, so that a host that may still run something is never forgotten, and nothing is removed under what runs.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent.clearing import clear
from agent.containers.removal import remove_all
from agent.departure import mark_leaving
from agent.farewell import Farewell, Forgotten, Unreachable
from agent.identity import IdentityDamaged, NotJoined, load_identity
from agent.installation import Supervisor
from agent.left_running import running_tasks
from agent.removal import Remover
from agent.session.link import StillHeld
from agent.supervision import status, stop, unit_of
from agent.units import SupervisionFailed

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.config import Settings
    from agent.identity import Identity
    from agent.installation import Installation
    from agent.supervision import Place

REASON = "it was uninstalled"
# With --force: for nodes to be stopped as their jobs ask for, before they are stopped here.
_FORCE_SECONDS = 30.0
_HOWTO = "give --drain to have it go elsewhere first, or --force to stop it now"


class Busy(Exception):
    """Work runs on this host, and nobody said what is to become of it: the message names it and the choices."""


@dataclass(frozen=True, slots=True)
class Wish:
    """How to go: with ``force`` what runs is stopped at once; ``drain``: it has so many seconds; None: refused."""

    force: bool = False
    drain: float | None = None
    keep_logs: bool = False


class Uninstaller:
    """Takes one agent off this machine; ``say`` hears what is done, line by line."""

    def __init__(
        self, settings: Settings, installation: Installation | None, place: Place, say: Callable[[str], None]
    ) -> None:
        self._settings = settings
        self._installation = installation
        self._place = place
        self._say = say

    def run(self, wish: Wish) -> list[str]:
        """Do it; what could not be removed, and why. Raises Busy, and SupervisionFailed: then nothing was removed."""
        owed = self._leave(wish)
        self._end()
        if owed is not None:
            self._forget(owed)
        return self._remove(wish)

    # --- leaving --------------------------------------------------------------------------------------------------

    def _leave(self, wish: Wish) -> Farewell | None:
        """Have the coordinator forget this host; what has still to be told once nothing runs here any more."""
        try:
            identity = load_identity(self._settings.state_dir)
        except NotJoined:
            self._say("this host has joined no cluster")
            self._refuse_work(wish, "")
            return None
        except IdentityDamaged as error:
            self._refuse_work(wish, "")
            self._say(f"the coordinator can't be told ({error}); remove the host there: coordinator host remove")
            return None
        farewell = Farewell(identity, self._settings.coordinator)
        try:
            return self._ask(farewell, identity, wish)
        except Forgotten:
            self._say(f"host {identity.host_name} had been removed from its cluster before")
        except Unreachable as error:
            self._refuse_work(wish, f", and no coordinator answers ({error})")
            self._say(_remove_there(identity, str(error)))
        return None

    def _ask(self, farewell: Farewell, identity: Identity, wish: Wish) -> Farewell | None:
        try:
            farewell.leave(REASON, idle=False)
        except StillHeld as error:
            if not wish.force and wish.drain is None:
                raise Busy(f"{error} ({_HOWTO})") from None
            if not self._drained(farewell, wish):
                return farewell
            farewell.leave(REASON, idle=False)
        self._say(f"host {identity.host_name} has left its cluster")
        return None

    def _drained(self, farewell: Farewell, wish: Wish) -> bool:
        if not status(self._place).running:
            if not wish.force:
                raise Busy("no agent runs here that could drain it: start it, or give --force")
            return False
        mark_leaving(self._settings.state_dir, REASON)
        longest = _FORCE_SECONDS if wish.drain is None else wish.drain + 366 * 86400.0
        return farewell.drained(
            wish.drain or 0.0, REASON, longest, lambda left: self._say(f"nodes that are left to go: {left}")
        )

    def _refuse_work(self, wish: Wish, why: str) -> None:
        tasks = running_tasks(self._settings.state_dir)
        if tasks and not wish.force:
            raise Busy(f"{', '.join(tasks[:5])} runs here{why}: give --force to stop it now")

    def _forget(self, farewell: Farewell) -> None:
        try:
            farewell.leave(REASON, idle=True)
            self._say("this host has left its cluster")
        except Forgotten:
            return
        except Unreachable as error:
            self._say(_remove_there(load_identity(self._settings.state_dir), str(error)))

    # --- ending and removing --------------------------------------------------------------------------------------

    def _end(self) -> None:
        try:
            stop(self._place)
        except SupervisionFailed as error:
            # A unit that is not there any more does not keep an agent running.
            if status_or_none(self._place):
                raise
            self._say(str(error))
        left = clear(self._settings.state_dir, REASON) if self._settings.state_dir.exists() else []
        if left:
            pids = ", ".join(str(pid) for pid in left)
            raise SupervisionFailed(f"processes {pids} do not end: end them, and run this again")

    def _remove(self, wish: Wish) -> list[str]:
        remover, state_dir = Remover(), self._settings.state_dir
        installation = self._installation
        for left in remove_all(state_dir, self._settings.containers, os.environ):
            self._say(left)
        if installation is not None and installation.supervisor is not Supervisor.BACKGROUND:
            self._disable()
        if installation is not None:
            remover.files(installation.created)
        if installation is not None and installation.supervisor is not Supervisor.BACKGROUND:
            self._reload()
        if self._settings.work_dir is not None:
            remover.work(self._settings.work_dir)
        remover.state(state_dir, wish.keep_logs)
        if installation is not None:
            remover.program(installation, state_dir if wish.keep_logs else None)
            remover.users(installation.created.users)
            # Last: where nobody is logged in it ends whatever systemd runs of this user, this program too.
            remover.lingering(installation.created.lingers)
        return remover.stayed

    def _disable(self) -> None:
        try:
            unit_of(self._place).do("disable")
        except SupervisionFailed as error:
            self._say(str(error))

    def _reload(self) -> None:
        try:
            unit_of(self._place).reload()
        except SupervisionFailed as error:
            self._say(str(error))


def status_or_none(place: Place) -> bool:
    """Whether the agent runs, as far as can be told."""
    try:
        return status(place).running
    except SupervisionFailed:
        return False


def _remove_there(identity: Identity, why: str) -> str:
    return (
        f"no coordinator answers ({why}): have the host removed there: "
        f"coordinator host remove {identity.host_name} --gone"
    )
