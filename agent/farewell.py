"""What commands say to the coordinator for this host, by its certificate: beside an agent, or without one."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, TypeVar

from agent.identity import load_pems
from agent.session.link import ContactLost, Link, Refused, StandsBy

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from agent.identity import Identity

T = TypeVar("T")
_LOOK_SECONDS = 0.5


class Unreachable(Exception):
    """No coordinator answered: the message says why, of each address."""


class Forgotten(Exception):
    """The coordinator knows this host no more."""


class Farewell:
    """The calls of a host that goes. Methods raise Unreachable and Forgotten, and IdentityDamaged."""

    def __init__(self, identity: Identity, told: Sequence[str] = ()) -> None:
        """``told``: the coordinator's addresses by the settings, which count more than those known from joining."""
        self._identity = identity
        self._addresses = tuple(told) or identity.coordinators

    def vacate(self, seconds: float, reason: str) -> list[str]:
        """Ask for this host's drain; the allocations that are left."""
        return self._at_leader(lambda link: link.vacate(seconds, reason))

    def leave(self, reason: str, *, idle: bool) -> None:
        """Have this host forgotten. Raises StillHeld, unless ``idle``: nothing runs here."""
        self._at_leader(lambda link: link.leave(reason, idle=idle))

    def drained(self, seconds: float, reason: str, longest: float, tell: Callable[[int], None]) -> bool:
        """Have this host drained and wait until nothing is left, at most ``longest`` seconds; whether it is so.

        ``tell`` hears how many nodes are left whenever that changes.
        """
        end, last = time.monotonic() + longest, -1
        while left := len(self.vacate(seconds, reason)):
            if left != last:
                tell(left)
            last = left
            if time.monotonic() > end:
                return False
            time.sleep(_LOOK_SECONDS)
            # The time that was given runs on.
            seconds = max(0.0, seconds - _LOOK_SECONDS)
        return True

    def _at_leader(self, call: Callable[[Link], Awaitable[T]]) -> T:
        pems = load_pems(self._identity)

        async def ask() -> T:
            said, addresses = [], list(self._addresses)
            for address in addresses:
                link = Link(address, pems)
                try:
                    return await call(link)
                except ContactLost as error:
                    said.append(f"{address}: {error}")
                    if isinstance(error, StandsBy) and error.leader and error.leader not in addresses:
                        addresses.append(error.leader)
                except Refused as error:
                    raise Forgotten(str(error)) from None
                finally:
                    await link.close()
            raise Unreachable("; ".join(said))

        return asyncio.run(ask())
