"""What `agent doctor` says of the host's place in a cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.hardware.diagnosis import Finding
from agent.identity import IdentityDamaged, NotJoined, load_identity

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_DAY = 86400.0
_JOIN = "run 'agent join HOST:PORT --token-file F'"
JOIN_ANEW = "run 'agent join HOST:PORT --token-file F --force'"


def examine_membership(state_dir: Path, now: float, told: Sequence[str] = ()) -> Finding:
    """Whether this host has joined, and whether its certificate still holds at ``now`` (Unix seconds).

    ``told``: the coordinator's addresses by the settings, which count more than those known from joining.
    """
    try:
        identity = load_identity(state_dir)
    except NotJoined:
        return Finding("warn", "cluster", f"this host has not joined a cluster ({state_dir})", _JOIN)
    except IdentityDamaged as error:
        return Finding("error", "cluster", str(error), JOIN_ANEW)
    who = f"host {identity.host_name} ({identity.host_id}) of {', '.join(told or identity.coordinators)}"
    if now >= identity.not_after:
        return Finding("error", "cluster", f"{who}: its certificate has expired", JOIN_ANEW)
    if now < identity.not_before:
        way_out = "set this machine's clock right"
        return Finding("error", "cluster", f"{who}: its certificate is from the future", way_out)
    return Finding("ok", "cluster", f"{who}, certificate for {(identity.not_after - now) / _DAY:.1f} more days")
