"""Whether the coordinator can be reached from here, for `agent check`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from agent.hardware.diagnosis import Finding
from agent.identity import IdentityDamaged, NotJoined, load_identity

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_SECONDS = 3.0


async def examine_contact(state_dir: Path, told: Sequence[str] = ()) -> tuple[Finding, ...]:
    """Whether any address of the coordinator takes a connection; nothing for a host that has not joined.

    ``told``: its addresses by the settings, which count more than those known from joining.
    """
    try:
        addresses = told or load_identity(state_dir).coordinators
    except (NotJoined, IdentityDamaged):
        return ()
    failures = []
    for address in addresses:
        failure = await _failure(address)
        if not failure:
            return (Finding("ok", "contact", f"the coordinator takes connections at {address}"),)
        failures.append(f"{address}: {failure}")
    way_out = "check that it runs, its address, and the firewalls between here and there for outgoing TCP"
    return (Finding("error", "contact", f"the coordinator can't be reached at {'; '.join(failures)}", way_out),)


async def _failure(address: str) -> str:
    host, _, port = address.rpartition(":")
    try:
        async with asyncio.timeout(_SECONDS):
            _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
    except TimeoutError:
        return f"no answer within {_SECONDS:g} s"
    except (OSError, ValueError) as error:
        return (error.strerror if isinstance(error, OSError) else None) or str(error)
    writer.close()
    return ""
