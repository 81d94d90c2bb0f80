"""Checks of a join request that need no database; ``tokens.redeem`` is the one that does."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from rallypoint.token import TokenDamaged, TokenText, parse_token
from rallypoint.version import PROTOCOL_VERSION, Skew, skew_of

from coordinator.access.errors import ClockOff, ProtocolTooDifferent, TokenNotReadable, WrongCluster

MAX_CLOCK_DIFFERENCE = 300.0
"""Seconds by which a joining host's clock may differ; certificates begin this much early."""


@dataclass(frozen=True, slots=True)
class JoinClaim:
    """What a joining host says of itself. ``host_time`` in Unix seconds."""

    token: str
    host_time: float
    protocol_version: str


def check_claim(claim: JoinClaim, cluster_id: str, now: float) -> TokenText:
    """The token of a claim worth looking at.

    Raises ``ProtocolTooDifferent``, ``TokenNotReadable``, ``WrongCluster`` or ``ClockOff``.
    """
    if skew_of(claim.protocol_version, PROTOCOL_VERSION) is Skew.OTHER:
        versions = f"the agent speaks protocol {claim.protocol_version or '?'}, the coordinator {PROTOCOL_VERSION}"
        raise ProtocolTooDifferent(f"{versions}: install the same release on both")
    try:
        token = parse_token(claim.token)
    except TokenDamaged as error:
        raise TokenNotReadable(str(error)) from None
    if token.cluster_id != cluster_id:
        raise wrong_cluster(token.cluster_id, cluster_id)
    check_clock(claim.host_time, now)
    return token


def wrong_cluster(theirs: str, ours: str) -> WrongCluster:
    """The refusal of a token of another cluster."""
    message = f"the join token is for cluster {theirs}, but this coordinator is cluster {ours}"
    return WrongCluster(f"{message}: use a token that was made here", {"token": theirs, "coordinator": ours})


def check_clock(host_time: float, now: float) -> None:
    """Raise ``ClockOff`` when the host's clock differs by more than ``MAX_CLOCK_DIFFERENCE``."""
    if abs(host_time - now) <= MAX_CLOCK_DIFFERENCE:
        return
    host, own = _iso(host_time), _iso(now)
    message = f"the host's clock says {host}, the coordinator's {own}: set the wrong one right (NTP), then join again"
    raise ClockOff(message, {"host_time": host, "coordinator_time": own})


def _iso(seconds: float) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return f"{seconds:g} s since 1970"
