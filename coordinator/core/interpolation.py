"""``${{ … }}`` in commands and variables: found when a job is submitted, filled in when a node gets its order.

Two things can be meant: ``matrix.NAME``, a parameter of the node, and ``groups[I].nodes[J].IP_ADDRESS``, the address of
the J-th node of the I-th group. The latter is known only once all members of a group are prepared. ``$${{`` stands for
the characters ``${{`` themselves.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_OPENING = "${{"
# On one line: what is opened by mistake must not swallow the lines below.
_TOKEN = re.compile(r"(?P<escaped>\$\$\{\{)|\$\{\{(?P<inside>.*?)\}\}|\$\{\{(?P<unclosed>.*)")
_MATRIX = re.compile(r"matrix\.(?P<name>[A-Za-z_][A-Za-z0-9_]*)")
_ADDRESS = re.compile(r"groups\[(?P<group>[0-9]{1,7})\]\.nodes\[(?P<node>[0-9]{1,7})\]\.IP_ADDRESS")


@dataclass(frozen=True, slots=True)
class MatrixValue:
    """``${{ matrix.NAME }}``."""

    name: str


@dataclass(frozen=True, slots=True)
class NodeAddress:
    """``${{ groups[GROUP].nodes[NODE].IP_ADDRESS }}``; both count from 0."""

    group: int
    node: int


@dataclass(frozen=True, slots=True)
class Unknown:
    """Anything else after a ``${{``, without its ends."""

    text: str


Reference = MatrixValue | NodeAddress | Unknown


def references(text: str) -> tuple[Reference, ...]:
    """All references in a text, in their order, repeated ones too."""
    if _OPENING not in text:
        return ()
    return tuple(_reference(match) for match in _TOKEN.finditer(text) if not match["escaped"])


def fill(text: str, values: Mapping[str, str], addresses: Sequence[Sequence[str]] = ()) -> str:
    """The text with each reference replaced; what replaces it is not looked at again.

    ``values`` are the node's parameters, ``addresses`` those of the nodes of each group. A parameter that the node does
    not have becomes the empty text, as an unset variable does in a shell. What nobody can know (an address that is not
    given, anything else) stays as it stands: a job is refused for it at submission.
    """
    if _OPENING not in text:
        return text

    def replacement(match: re.Match[str]) -> str:
        if match["escaped"]:
            return _OPENING
        reference = _reference(match)
        if isinstance(reference, MatrixValue):
            return values.get(reference.name, "")
        if isinstance(reference, NodeAddress) and _is_there(reference, addresses):
            return addresses[reference.group][reference.node]
        return match[0]

    return _TOKEN.sub(replacement, text)


def _reference(match: re.Match[str]) -> Reference:
    if match["inside"] is None:
        return Unknown(match["unclosed"].strip())
    inside = match["inside"].strip()
    if found := _MATRIX.fullmatch(inside):
        return MatrixValue(found["name"])
    if found := _ADDRESS.fullmatch(inside):
        return NodeAddress(int(found["group"]), int(found["node"]))
    return Unknown(inside)


def _is_there(address: NodeAddress, addresses: Sequence[Sequence[str]]) -> bool:
    return address.group < len(addresses) and address.node < len(addresses[address.group])
