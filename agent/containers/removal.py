"""What an uninstalled agent has with this host's runtime goes as well: its containers, the images that it fetched."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

from agent.containers.host import FOLDER, ContainerHost, Policy
from agent.places import Places
from agent.users import Account

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

# No node is started any more.
_NOBODY = Account("", os.geteuid(), os.getegid())


def remove_all(state_dir: Path, runtime: str, own: Mapping[str, str]) -> list[str]:
    """Remove them, by ``runtime`` as in the settings; the agent has ended. The images that stay, each with why."""
    if not (state_dir / FOLDER).is_dir():
        return []
    host = ContainerHost(Places(state_dir), Policy(runtime, image_keep=0), own, dict, _NOBODY)

    async def sweep() -> None:
        await host.look()
        await host.sweep(lambda _: False)

    asyncio.run(sweep())
    why = host.runtime.problem or "something else uses it"
    return [f"image {image} stays: {why}" for image in host.fetched()]
