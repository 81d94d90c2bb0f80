"""The distribution's version and the protocol's, readable without the slow look-up in the installed metadata."""

from __future__ import annotations

from enum import Enum

__version__ = "0.1.0"

PROTOCOL_VERSION = "1.1"
"""``MAJOR.MINOR`` of ``rallypoint.v1`` as this code speaks it; a new minor only adds, a new major breaks."""


def build_name(version: str, sha256: str) -> str:
    """What an installed version is called: the release and the beginning of its wheel's hash."""
    return f"{version}-{sha256[:8]}"


class Skew(Enum):
    """How far another side's protocol is from ours."""

    NONE = "at most one minor apart: everything works"
    OLDER = "older by more than one minor"
    NEWER = "newer by more than one minor"
    OTHER = "another major number: there is no common language"


def skew_of(theirs: str, ours: str) -> Skew:
    """What a side that speaks ``ours`` thinks of one that speaks ``theirs`` (``MAJOR.MINOR``; else ``OTHER``)."""
    their_major, _, their_minor = theirs.partition(".")
    major, _, minor = ours.partition(".")
    if their_major != major or not (their_minor.isascii() and their_minor.isdigit()):
        return Skew.OTHER
    apart = int(their_minor) - int(minor)
    if abs(apart) <= 1:
        return Skew.NONE
    return Skew.NEWER if apart > 0 else Skew.OLDER
