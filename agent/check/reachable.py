"""Whether this host is in its cluster, and its coordinator in reach: for `agent doctor` and `agent check`."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from rallypoint.errors import OTHER_CA

from agent.hardware.diagnosis import Finding
from agent.identity import IdentityDamaged, NotJoined, load_identity, load_pems
from agent.membership import JOIN_ANEW, examine_membership

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from agent.identity import Pems

_SECONDS = 3.0
# What shows another certificate may be another server, too.
IF_ANEW = f"if the cluster was set up anew, {JOIN_ANEW}; else check the address"


async def examine_place(state_dir: Path, now: float, told: Sequence[str] = ()) -> tuple[Finding, ...]:
    """What its coordinator says of this host, by the very way that its agent takes, and then of its membership.

    ``told``: the coordinator's addresses by the settings, which count more than those known from joining. ``now`` in
    Unix seconds. A host that has not joined is asked about nowhere.
    """
    member = examine_membership(state_dir, now, told)
    try:
        identity = load_identity(state_dir)
        pems = load_pems(identity)
    except (NotJoined, IdentityDamaged):
        return (member,)
    answers = await asyncio.gather(*(_ask(address, pems) for address in dict.fromkeys(told or identity.coordinators)))
    contact = _contact(answers)
    if contact.way_out == JOIN_ANEW and member.level == "ok":
        # A certificate that is not taken makes no member, however long it holds.
        member = replace(member, level="error", text=f"{member.text}, but it was removed", way_out=JOIN_ANEW)
    return contact, member


@dataclass(frozen=True, slots=True)
class _Answer:
    """What came from ``address``: ``level`` ok, the host is known; warn, another one leads; error, see ``text``."""

    address: str
    level: str
    text: str
    way_out: str = ""


async def _ask(address: str, pems: Pems) -> _Answer:
    from rallypoint.tls import prepare_grpc

    prepare_grpc()
    from agent.session.link import ContactLost, Link, Refused, StandsBy

    link = Link(address, pems)
    try:
        await link.greet(_SECONDS)
    except Refused as error:
        return _Answer(address, "error", str(error), JOIN_ANEW)
    except StandsBy as error:
        return _Answer(address, "warn", str(error))
    except ContactLost as error:
        return _Answer(address, "error", str(error), IF_ANEW if OTHER_CA in str(error) else "")
    finally:
        await link.close()
    return _Answer(address, "ok", "")


def _contact(answers: Sequence[_Answer]) -> Finding:
    for answer in answers:
        if answer.level == "ok":
            return Finding("ok", "contact", f"the coordinator at {answer.address} knows this host")
    said = "; ".join(f"{answer.address}: {answer.text}" for answer in answers)
    for way_out in (JOIN_ANEW, IF_ANEW):
        if any(answer.way_out == way_out for answer in answers):
            return Finding("error", "contact", f"the coordinator does not take this host: {said}", way_out)
    if any(answer.level == "warn" for answer in answers):
        return Finding("warn", "contact", f"no coordinator that leads answers: {said}", "see whether one comes to lead")
    way_out = "check that it runs, its address, and the firewalls between here and there for outgoing TCP"
    return Finding("error", "contact", f"the coordinator can't be reached at {said}", way_out)
