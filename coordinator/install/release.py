"""The release that hosts are upgraded to: the wheel of this very program."""

from __future__ import annotations

import asyncio

from rallypoint.version import build_name

from coordinator.core.errors import Conflict
from coordinator.core.rollout import Release
from coordinator.install.shelf import Shelf
from coordinator.install.wheel import CannotPack
from coordinator.own_wheel import OwnWheel


async def own_wheel(shelf: Shelf) -> OwnWheel:
    """The wheel of this very program, made when it is first asked for. Raises Conflict when it can't be made."""
    try:
        return await asyncio.to_thread(_find, shelf)
    except (CannotPack, OSError) as error:
        raise Conflict(f"this coordinator can't make its own wheel, to which hosts are upgraded: {error}") from None


def _find(shelf: Shelf) -> OwnWheel:
    wheel = shelf.manifest()["wheel"]
    name, sha256 = wheel["name"], wheel["sha256"]
    path = shelf.path(sha256, name)
    assert path is not None
    version = name.split("-")[1]
    return OwnWheel(path, Release(version, build_name(version, sha256), sha256, wheel["size"]))
