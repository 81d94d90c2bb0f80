"""GPUs by the Container Device Interface: the names that spec files on this host give them."""

from __future__ import annotations

import json
import re
from pathlib import Path

FOLDERS = (Path("/etc/cdi"), Path("/var/run/cdi"))
KIND = "nvidia.com/gpu"

_YAML_KIND = re.compile(r"^kind:\s*[\"']?([^\s\"']+)", re.MULTILINE)
# Only devices have names there, and the kind's own line stands apart.
_YAML_NAME = re.compile(r"^\s*(?:-\s+)?name:\s*[\"']?([^\s\"']+)[\"']?\s*$", re.MULTILINE)


def devices(folders: tuple[Path, ...] = FOLDERS) -> frozenset[str]:
    """The names of NVIDIA's devices: uuids, indexes (``0``, for MIG ``0:1``), ``all``. Nothing here fails."""
    found: set[str] = set()
    for folder in folders:
        for path in sorted(folder.glob("*")):
            if path.suffix in (".json", ".yaml", ".yml"):
                found |= _names(path)
    return frozenset(found)


def _names(path: Path) -> set[str]:
    try:
        text = path.read_text()
        if path.suffix == ".json":
            spec = json.loads(text)
            return {str(each["name"]) for each in spec["devices"]} if spec.get("kind") == KIND else set()
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return set()
    kind = _YAML_KIND.search(text)
    return set(_YAML_NAME.findall(text)) if kind is not None and kind[1] == KIND else set()


def name_of(uuid: str, index: int, is_part: bool, known: frozenset[str]) -> str | None:
    """The device to ask for; None: the spec files do not know this GPU. ``is_part``: it is a MIG instance."""
    if uuid in known:
        return f"{KIND}={uuid}"
    return f"{KIND}={index}" if not is_part and str(index) in known else None
