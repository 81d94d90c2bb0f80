"""What a host's owner says of it; everything else about a host is measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class HostFacts:
    """Facts given at join or in the agent's configuration; the defaults serve someone who gives none.

    ``network`` empty: found by probing. ``price_per_hour`` in USD for the whole host; None: unknown, taken as free.
    ``instance_type`` is the provider's name for this kind of machine, ``fleet`` the owner's for a set of them.
    ``ephemeral``: the host leaves its cluster when its agent ends, or when its lease does.
    """

    backend: str = ""
    region: str = ""
    network: str = ""
    price_per_hour: float | None = None
    labels: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    spot: bool = False
    instance_type: str = ""
    fleet: str = ""
    ephemeral: bool = False
