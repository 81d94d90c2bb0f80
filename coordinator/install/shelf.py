"""What the coordinator gives to hosts: its own wheel and pip's, made here, and the wheels of its wheelhouse.

``DATA/wheels/SHA256/NAME``     made from what is installed, anew when that has changed
``DATA/wheelhouse/NAME``        dependencies, put there by ``coordinator wheelhouse build``
``DATA/wheelhouse/index.json``  which of them serve which kind of host
"""

from __future__ import annotations

import hashlib
import json
import shutil
import threading
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rallypoint.files import write_private

from coordinator.install.wheel import CannotPack, own_wheel, packed

INDEX_FILE = "index.json"
FORMAT = 1


@dataclass(frozen=True, slots=True)
class Wheel:
    """A wheel by its name, what must be in it, and its size in bytes."""

    name: str
    sha256: str
    size: int


def wheel_of(name: str, content: bytes) -> Wheel:
    """How a wheel with this content is named in manifests."""
    return Wheel(name, hashlib.sha256(content).hexdigest(), len(content))


class Shelf:
    """Finds and keeps wheels. Its methods read disks: call them in a thread."""

    def __init__(self, data_dir: Path) -> None:
        self._wheels = data_dir / "wheels"
        self._house = data_dir / "wheelhouse"
        self._lock = threading.Lock()
        self._own: Wheel | None = None
        self._pip: Wheel | None = None

    def manifest(self) -> dict[str, Any]:
        """What there is, as hosts are told. Raises ``CannotPack``, ``OSError``."""
        with self._lock:
            if self._own is None:
                self._own, self._pip = self._make()
            pip = None if self._pip is None else asdict(self._pip)
            return {"format": FORMAT, "wheel": asdict(self._own), "pip": pip, "wheelhouse": read_index(self._house)}

    def path(self, sha256: str, name: str) -> Path | None:
        """Where a wheel of the manifest is; None for anything else. Raises as ``manifest``."""
        manifest = self.manifest()
        asked = (sha256, name)
        if asked in _named([each for each in (manifest["wheel"], manifest["pip"]) if each]):
            return self._wheels / sha256 / name
        if any(asked in _named(wheels) for wheels in manifest["wheelhouse"].values()):
            return self._house / name
        return None

    def _make(self) -> tuple[Wheel, Wheel | None]:
        own = self._put(*own_wheel())
        try:
            pip = self._put(*packed("pip"))
        except CannotPack:
            pip = None  # A coordinator that uv installed has none; then hosts use the one that they have.
        kept = {wheel.sha256 for wheel in (own, pip) if wheel is not None}
        for old in self._wheels.iterdir():
            if old.name not in kept:
                shutil.rmtree(old, ignore_errors=True)
        return own, pip

    def _put(self, name: str, content: bytes) -> Wheel:
        wheel = wheel_of(name, content)
        put(self._wheels / wheel.sha256 / name, content)
        return wheel


def _named(wheels: Iterable[dict[str, Any]]) -> set[tuple[str, str]]:
    return {(each["sha256"], each["name"]) for each in wheels}


def read_index(house: Path) -> dict[str, list[dict[str, Any]]]:
    """The wheelhouse's wheels by kind of host (``cp311-x86_64``); none where there is no wheelhouse, or a damaged one.

    Raises ``OSError``.
    """
    try:
        content = json.loads((house / INDEX_FILE).read_bytes())
        targets = {kind: [asdict(Wheel(**each)) for each in wheels] for kind, wheels in content["targets"].items()}
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
        return {}
    return targets


def write_index(house: Path, kind: str, wheels: Iterable[Wheel]) -> None:
    """State the wheels for hosts of ``kind``; other kinds keep theirs, and what none names any more is removed.

    Raises ``OSError``.
    """
    targets = {**read_index(house), kind: sorted((asdict(each) for each in wheels), key=lambda each: str(each["name"]))}
    put(house / INDEX_FILE, json.dumps({"format": FORMAT, "targets": targets}, indent=1).encode(), anew=True)
    named = {each["name"] for wheels_ in targets.values() for each in wheels_}
    for path in house.iterdir():
        if path.suffix == ".whl" and path.name not in named:
            path.unlink()


def put(path: Path, content: bytes, anew: bool = False) -> None:
    """Write a file whole or not at all, unless it is there already. Raises ``OSError``."""
    if path.exists() and not anew and path.stat().st_size == len(content):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    write_private(path, content)
