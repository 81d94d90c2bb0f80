"""What podman makes for an ordinary user as soon as it is asked anything: noted before, so that it can go again."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from agent.closed import write_line

if TYPE_CHECKING:
    from collections.abc import Mapping

NOTE = "podman.json"


def note(folder: Path, own: Mapping[str, str]) -> None:
    """Put down, once, what of it is not there yet. ``folder`` is the agent's; ``own`` is its environment."""
    path = folder / NOTE
    if os.geteuid() == 0 or path.exists():
        return
    with contextlib.suppress(OSError):
        places = [place for place in _places(own) if not place.exists()]
        above = dict.fromkeys(each for place in places for each in reversed(place.parents) if not each.exists())
        write_line(path, json.dumps({"places": [*map(str, places)], "above": [*map(str, above)]}))


def remove(folder: Path) -> None:
    """Remove what was not there before the agent; directories above it only if nothing else is in them."""
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        noted = json.loads((folder / NOTE).read_text())
        for place in noted["places"]:
            shutil.rmtree(place, ignore_errors=True)
        for path in reversed(noted["above"]):
            with contextlib.suppress(OSError):
                os.rmdir(path)


def _places(own: Mapping[str, str]) -> list[Path]:
    home = Path(own.get("HOME") or os.path.expanduser("~"))
    data = Path(own.get("XDG_DATA_HOME") or home / ".local/share")
    config = Path(own.get("XDG_CONFIG_HOME") or home / ".config")
    if runtime := own.get("XDG_RUNTIME_DIR"):
        passing = [Path(runtime, name) for name in ("containers", "libpod", "podman")]
    else:
        passing = [Path("/tmp", f"{name}-{os.geteuid()}") for name in ("podman-run", "containers-user")]  # noqa: S108
    return [data / "containers", config / "containers", config / "cni", *passing]
