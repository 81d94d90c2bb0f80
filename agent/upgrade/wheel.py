"""A wheel of this program on disk: what it says of itself, and its files put into an environment.

It needs no pip: the wheel is pure Python, and its dependencies are there before it is.
"""

from __future__ import annotations

import configparser
import email.parser
import shutil
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

_SCRIPT = """#!{python}
import sys
from {module} import {attribute}
sys.exit({attribute}())
"""


class BadWheel(Exception):
    """It is no wheel of this program; the message says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class About:
    """``requires`` are the requirements as they stand in its metadata; ``scripts`` its commands as MODULE:FUNCTION."""

    name: str
    version: str
    requires: tuple[str, ...]
    scripts: dict[str, str]
    folder: str


def read_wheel(path: Path) -> About:
    """What the wheel says of itself. Raises BadWheel, OSError."""
    try:
        with zipfile.ZipFile(path) as archive:
            folder = next(name.split("/")[0] for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
            told = email.parser.Parser().parsestr(archive.read(f"{folder}/METADATA").decode())
            entries = configparser.ConfigParser(interpolation=None)
            entries.optionxform = str  # type: ignore[assignment, method-assign]
            if f"{folder}/entry_points.txt" in archive.namelist():
                entries.read_string(archive.read(f"{folder}/entry_points.txt").decode())
    except (zipfile.BadZipFile, StopIteration, KeyError, UnicodeDecodeError, configparser.Error) as error:
        raise BadWheel(f"{path.name} is no wheel: {error or 'it has no METADATA'}") from None
    scripts = dict(entries["console_scripts"]) if entries.has_section("console_scripts") else {}
    requires = tuple(told.get_all("Requires-Dist") or ())
    return About(str(told["Name"]), str(told["Version"]), requires, scripts, folder)


def unpack(path: Path, environment: Path, site: Path) -> None:
    """Put the wheel's files into ``site``, the packages' folder of ``environment``, and its commands beside Python.

    Raises BadWheel, OSError.
    """
    about = read_wheel(path)
    with zipfile.ZipFile(path) as archive:
        for name in _names(archive):
            target = site / name
            target.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(name) as packed, target.open("wb") as file:
                shutil.copyfileobj(packed, file)
    (site / about.folder / "INSTALLER").write_text("rallypoint\n")
    for command, place in about.scripts.items():
        module, _, attribute = place.partition(":")
        script = environment / "bin" / command
        # Another one may hang on the same file.
        script.unlink(missing_ok=True)
        python = environment / "bin" / "python"
        script.write_text(_SCRIPT.format(python=python, module=module.strip(), attribute=attribute.strip()))
        script.chmod(0o755)


def _names(archive: zipfile.ZipFile) -> Iterator[str]:
    for info in archive.infolist():
        path = PurePosixPath(info.filename)
        if path.is_absolute() or ".." in path.parts:
            raise BadWheel(f"it has a file outside of itself: {info.filename!r}")
        if not info.is_dir():
            yield info.filename
