"""What an uninstalled agent has with this host's runtime goes as well: its containers, the images that it fetched, and
what podman made for an ordinary user only because the agent asked it."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING

from agent.containers import traces
from agent.containers.command import run
from agent.containers.detect import KINDS, OFF
from agent.containers.host import FOLDER, ContainerHost, Policy
from agent.containers.images import ASK_SECONDS
from agent.places import Places
from agent.users import Account

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent.containers.model import Runtime

# No node is started any more.
_NOBODY = Account("", os.geteuid(), os.getegid())
_HOLDS = ("ps --all --quiet", "images --all --quiet", "volume ls --quiet", "secret ls --quiet")


def remove_all(state_dir: Path, runtime: str, own: Mapping[str, str]) -> list[str]:
    """Remove them, by ``runtime`` as in the settings; the agent has ended. What stays, each with why, and the way."""
    folder = state_dir / FOLDER
    if not folder.is_dir():
        return []
    # What is switched off now may not have been when images were fetched.
    host = ContainerHost(Places(state_dir), Policy(_asked(runtime), image_keep=0), own, dict, _NOBODY)
    if runtime == OFF and not host.fetched():
        return []
    asyncio.run(_sweep(host))
    kind = host.runtime.kind or (runtime if runtime in KINDS else KINDS[0])
    why = host.runtime.problem or "something else uses it"
    said = [f"image {image} stays ({why}); to remove it: {kind} rmi {image}" for image in host.fetched()]
    if host.runtime.kind == "podman" and host.runtime.rootless:
        said += asyncio.run(_of_an_ordinary_user(host.runtime, folder))
    return said


def _asked(runtime: str) -> str:
    return "auto" if runtime == OFF else runtime


async def _sweep(host: ContainerHost) -> None:
    await host.look()
    await host.sweep(lambda _: False)


async def _of_an_ordinary_user(runtime: Runtime, folder: Path) -> list[str]:
    """podman makes storage for each user who asks it anything, and leaves a process that holds the user's namespace."""
    for words in _HOLDS:
        found = await run([runtime.path, *words.split()], runtime.env, ASK_SECONDS)
        if found.code or found.out.strip():
            return []  # Somebody's, who uses it.
    place = await run([runtime.path, "info", "--format", "{{.Store.GraphRoot}}"], runtime.env, ASK_SECONDS)
    await run([runtime.path, "system", "migrate"], runtime.env, ASK_SECONDS)  # Ends that process.
    traces.remove(folder)
    storage = Path(place.out.strip())
    if place.code or not await asyncio.to_thread(storage.exists):
        return []
    return [f"podman's own storage in {storage} stays, empty; to remove it: podman system reset"]
