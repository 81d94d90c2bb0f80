"""What a prepared member of a group measures before the group starts: pairs of hosts, and GPUs with an all-reduce."""

from __future__ import annotations

from agent.preflight.measure import Preflight

__all__ = ["Preflight"]
