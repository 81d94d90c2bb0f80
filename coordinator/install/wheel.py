"""Wheels made from what is installed here: the coordinator's own for its hosts, and others where there is no index.

The same files always make the same bytes, so that all coordinators of a cluster give out one and the same wheel.
"""

from __future__ import annotations

import base64
import hashlib
import io
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path, PurePosixPath

PACKAGES = ("agent", "coordinator", "rallypoint")
# What the installer of a wheel adds, or makes anew on each machine.
_LEFT_OUT = frozenset({"INSTALLER", "REQUESTED", "RECORD", "direct_url.json", "uv_cache.json"})
_NAME = re.compile(r"[A-Za-z0-9._-]+")
_BEGINNING = (1980, 1, 1, 0, 0, 0)


class CannotPack(Exception):
    """A distribution can't be made a wheel from what is installed; the message says which, why, and what to do."""


def own_wheel() -> tuple[str, bytes]:
    """Name and bytes of the wheel of this very program, installed or run from a checkout. Raises ``CannotPack``."""
    distribution = _found("rallypoint")
    files = {name: path for package in PACKAGES for name, path in _package(package)}
    about = _folder(distribution)
    files |= {f"{about.name}/{path.relative_to(about)}": path for path in _below(about) if path.name not in _LEFT_OUT}
    # Not compressed: what compression makes of the same bytes differs from one zlib to the next.
    return _wheel_name(distribution), _zip(files, about.name, level=0)


def packed(name: str, level: int = 6) -> tuple[str, bytes]:
    """Name and bytes of a wheel of the installed distribution ``name``, compressed by ``level``. Raises CannotPack."""
    distribution = _found(name)
    about = _folder(distribution)
    files = {}
    for each in distribution.files or ():
        if ".." in each.parts or each.is_absolute() or each.suffix == ".pyc" or _left_out(each, about.name):
            continue
        files[str(each)] = Path(str(distribution.locate_file(each)))
    return _wheel_name(distribution), _zip(files, about.name, level)


def _left_out(path: PurePosixPath, about: str) -> bool:
    return path.parent.name == about and path.name in _LEFT_OUT


def requirements(name: str = "rallypoint") -> list[str]:
    """The distributions, by their installed names, that ``name`` needs here, itself not included. Raises CannotPack.

    What a requirement's marker excludes on this machine is not installed, and so is left out without reading it.
    """
    found: dict[str, str] = {}
    open_ = [name]
    while open_:
        for text in _found(open_.pop()).requires or ():
            wanted, _, marker = text.partition(";")
            match = _NAME.match(wanted.strip())
            if match is None or "extra" in marker or _plain(match[0]) in found:
                continue
            with suppress(metadata.PackageNotFoundError):
                known = metadata.distribution(match[0]).name
                found[_plain(known)] = known
                open_.append(known)
    return sorted(found.values(), key=str.lower)


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _found(name: str) -> metadata.Distribution:
    try:
        return metadata.distribution(name)
    except metadata.PackageNotFoundError:
        raise CannotPack(f"{name} is not installed here: install it beside the coordinator, with pip") from None


def _folder(distribution: metadata.Distribution) -> Path:
    """The distribution's ``.dist-info``."""
    folder = getattr(distribution, "_path", None)
    if folder is None or not (Path(folder) / "WHEEL").exists():
        raise CannotPack(f"{distribution.name} was not installed from a wheel: install it anew with pip")
    return Path(folder)


def _place(package: str) -> Path:
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise CannotPack(f"package {package!r} is not installed here: install the coordinator anew")
    return Path(next(iter(spec.submodule_search_locations)))


def _package(package: str) -> Iterator[tuple[str, Path]]:
    root = _place(package)
    for path in _below(root):
        if "__pycache__" not in path.parts and path.suffix != ".pyc":
            yield f"{package}/{path.relative_to(root)}", path


def _below(root: Path) -> Iterable[Path]:
    return (path for path in sorted(root.rglob("*")) if path.is_file())


def _wheel_name(distribution: metadata.Distribution) -> str:
    """As PEP 427 has it. Of several tags one is enough: it was the one for this machine."""
    lines = (_folder(distribution) / "WHEEL").read_text().splitlines()
    tags = [line.partition(":")[2].strip() for line in lines if line.startswith("Tag:")]
    name = re.sub(r"[-_.]+", "_", distribution.name)
    return "-".join((name, distribution.version.replace("-", "_"), *_joined(tags))) + ".whl"


def _joined(tags: Iterable[str]) -> list[str]:
    parts = [tag.split("-") for tag in tags]
    return [".".join(sorted({part[place] for part in parts})) for place in range(3)]


def _zip(files: Mapping[str, Path], about: str, level: int = 6) -> bytes:
    out = io.BytesIO()
    record = []
    with zipfile.ZipFile(out, "w") as archive:
        for name in sorted(files, key=lambda name: (name.startswith(about), name)):
            content = _content(files[name])
            _add(archive, name, content, files[name].stat().st_mode & 0o100, level)
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")
            record.append(f"{name},sha256={digest},{len(content)}")
        record.append(f"{about}/RECORD,,")
        _add(archive, f"{about}/RECORD", ("\n".join(record) + "\n").encode(), 0, level)
    return out.getvalue()


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CannotPack(f"{path} can't be read ({error.strerror}): install it anew, with pip") from None


def _add(archive: zipfile.ZipFile, name: str, content: bytes, executable: int, level: int) -> None:
    about = zipfile.ZipInfo(name, _BEGINNING)
    about.external_attr = (0o100755 if executable else 0o100644) << 16
    about.compress_type = zipfile.ZIP_DEFLATED if level else zipfile.ZIP_STORED
    about.create_system = 3
    archive.writestr(about, content, compresslevel=level)
