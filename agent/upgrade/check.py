"""What a version that was just installed is asked before it takes over: whether it could run here at all."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from agent.identity import IdentityDamaged, NotJoined, load_identity

if TYPE_CHECKING:
    from agent.config import Settings

# All that an agent, and what it starts, is made of.
_PARTS = ("agent.daemon", "agent.spawner.__main__", "agent.supervisor.__main__", "agent.upgrade.watch")


class CheckFailed(Exception):
    """This version can't run here; the message says why."""


def check(settings: Settings) -> None:
    """Load every part, and read this host's identity. Raises CheckFailed."""
    from rallypoint.tls import prepare_grpc

    prepare_grpc()
    for part in _PARTS:
        try:
            importlib.import_module(part)
        except Exception as error:
            raise CheckFailed(f"{part} can't be loaded: {type(error).__name__}: {error}") from None
    try:
        load_identity(settings.state_dir)
    except (NotJoined, IdentityDamaged) as error:
        raise CheckFailed(str(error)) from None
