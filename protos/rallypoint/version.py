"""The distribution's version and the protocol's, readable without the slow look-up in the installed metadata."""

from __future__ import annotations

__version__ = "0.1.0"

PROTOCOL_VERSION = "1.0"
"""``MAJOR.MINOR`` of ``rallypoint.v1`` as this code speaks it; a new minor only adds, a new major breaks."""


def protocol_compatible(theirs: str) -> bool:
    """Whether a peer that speaks ``theirs`` (``MAJOR.MINOR``) can be talked to: the same major number."""
    return theirs.partition(".")[0] == PROTOCOL_VERSION.partition(".")[0]
