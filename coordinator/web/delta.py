"""Documents and what changed between two of them, so that a live page costs what changes and not what exists."""

from __future__ import annotations

from typing import Any

Document = dict[str, Any]
Item = dict[str, Any]

# Lists whose items have an identity; everything else is replaced as a whole when it differs.
KEYS = {"hosts": "id", "jobs": "id", "nodes": "rank"}


def difference(before: Document, after: Document) -> Document:
    """What a reader of ``before`` must replace to have ``after``; empty if nothing.

    A keyed list becomes ``{"changed": [items], "order": [keys]}``, ``order`` only if it differs.
    """
    changed: Document = {}
    for name, value in after.items():
        if name in before and before[name] == value:
            continue
        if name in KEYS and name in before:
            changed[name] = _items(before[name], value, KEYS[name])
        else:
            changed[name] = value
    return changed


def _items(before: list[Item], after: list[Item], key: str) -> Item:
    known = {item[key]: item for item in before}
    result: Item = {"changed": [item for item in after if known.get(item[key]) != item]}
    order = [item[key] for item in after]
    if order != [item[key] for item in before]:
        result["order"] = order
    return result
