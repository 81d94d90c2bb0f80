"""The wheelhouse: wheels of all that Rallypoint needs, for hosts that reach the coordinator and no package index."""

from __future__ import annotations

import platform
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from email.parser import HeaderParser
from importlib import metadata
from pathlib import Path

from coordinator.install.shelf import Wheel, put, wheel_of, write_index
from coordinator.install.wheel import CannotPack, packed, requirements

_GLIBC = ("manylinux_2_34", "manylinux_2_31", "manylinux_2_28", "manylinux_2_17", "manylinux2014")
_VERSION = re.compile(r"3\.[0-9]{1,2}")


class CannotBuild(Exception):
    """The wheelhouse can't be made; the message says what is missing and what to do."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of host: its Python (``3.11``), its machine (``x86_64``)."""

    python: str
    machine: str

    def __post_init__(self) -> None:
        """Raises CannotBuild."""
        if not _VERSION.fullmatch(self.python):
            raise CannotBuild(f"{self.python!r} is not a version of Python; write it like 3.11")

    @property
    def name(self) -> str:
        """As the index has it: ``cp311-x86_64``."""
        return f"cp{self.python.replace('.', '')}-{self.machine}"

    @property
    def is_ours(self) -> bool:
        """Whether this program runs on the like of it."""
        return self == here()


def here() -> Kind:
    """The kind of this machine, with this Python."""
    return Kind(f"{sys.version_info.major}.{sys.version_info.minor}", platform.machine())


def build(data_dir: Path, kind: Kind, *, installed: bool) -> list[Wheel]:
    """Make the wheelhouse for hosts of ``kind``: by pip from its index, or from what is ``installed`` here.

    Raises CannotBuild, CannotPack, OSError.
    """
    house = data_dir / "wheelhouse"
    house.mkdir(parents=True, exist_ok=True)
    if installed and not kind.is_ours:
        raise CannotBuild(
            f"what is installed here serves hosts of {here().name}, not of {kind.name}: leave --installed out there"
        )
    wheels = []
    with tempfile.TemporaryDirectory(dir=house) as folder:
        found = _installed() if installed else _downloaded(Path(folder), kind)
        for name, content in found:
            put(house / name, content, anew=True)
            wheels.append(wheel_of(name, content))
    write_index(house, kind.name, wheels)
    return wheels


def _installed() -> Iterator[tuple[str, bytes]]:
    # Stored, not compressed: these go over a local network once a host.
    return (packed(name, level=0) for name in requirements())


def _downloaded(folder: Path, kind: Kind) -> Iterator[tuple[str, bytes]]:
    wanted = [text for text in metadata.requires("rallypoint") or () if "extra ==" not in text]
    while wanted:
        _download(folder, kind, wanted)
        # pip reads markers by the Python that it runs with; for another one's, what they name is asked for by name.
        wanted = [] if kind.is_ours else sorted(_missing(folder, kind))
    for path in sorted(folder.glob("*.whl")):
        yield path.name, path.read_bytes()


def _download(folder: Path, kind: Kind, wanted: Iterable[str]) -> None:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--dest", str(folder)]
    command += ["--only-binary", ":all:", "--python-version", kind.python, "--implementation", "cp"]
    command += [word for abi in (f"cp{kind.python.replace('.', '')}", "abi3", "none") for word in ("--abi", abi)]
    command += [word for libc in _GLIBC for word in ("--platform", f"{libc}_{kind.machine}")]
    try:
        done = subprocess.run([*command, *wanted], capture_output=True, text=True, check=False)
    except OSError as error:
        raise CannotBuild(f"pip can't be run ({error.strerror}): install it beside the coordinator") from None
    if "No module named pip" in done.stderr:
        raise CannotBuild("there is no pip beside the coordinator: install it there, or use --installed")
    if done.returncode:
        lines = [" ".join(line.split()) for line in done.stderr.splitlines() if line.startswith("ERROR")]
        said = lines[-1] if lines else f"pip ended with {done.returncode}"
        raise CannotBuild(f"pip can't download for {kind.name}: {said}; check the package index that pip uses here")


def _missing(folder: Path, kind: Kind) -> set[str]:
    """Requirements of what is there, by the markers of ``kind``, that nothing there meets."""
    from pip._vendor.packaging.requirements import Requirement

    there = {path.name.partition("-")[0].lower().replace("_", "-") for path in folder.glob("*.whl")}
    seen = {"python_version": kind.python, "python_full_version": f"{kind.python}.0", "platform_machine": kind.machine}
    found = set()
    for path in folder.glob("*.whl"):
        for text in _requires(path):
            each = Requirement(text)
            plain = re.sub(r"[-_.]+", "-", each.name).lower()
            if plain not in there and (each.marker is None or each.marker.evaluate({**seen, "extra": ""})):
                found.add(f"{each.name}{each.specifier}")
    return found


def _requires(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        name = next((name for name in archive.namelist() if name.endswith(".dist-info/METADATA")), "")
        if not name:
            raise CannotPack(f"{wheel.name} is no wheel: remove it, and build again")
        return HeaderParser().parsestr(archive.read(name).decode()).get_all("Requires-Dist") or []
