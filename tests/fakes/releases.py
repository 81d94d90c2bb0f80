"""Releases of this very program as wheels, and installations of them as the installer leaves them on a host.

What they depend on is taken from the tests' own environment: nothing is downloaded.
"""

from __future__ import annotations

import base64
import hashlib
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Mapping, Sequence
from importlib import metadata
from io import BytesIO
from pathlib import Path

import grpc

from agent.installation import Installation, Mode, Supervisor, save, switch, version_name
from agent.upgrade.wheel import unpack
from tests.support import missing

ROOT = Path(__file__).parents[2]
_PACKAGES = {"agent": "agent", "coordinator": "coordinator", "protos/rallypoint": "rallypoint"}
# Where the packages are that the program needs.
_SITE = Path(grpc.__file__).parents[1]


def build(tree: Path, folder: Path, edits: Mapping[str, str] | None = None, more: Sequence[str] = ()) -> Path:
    """The wheel of the source ``tree``, with some files' texts replaced (by their paths in the wheel).

    ``more`` are packages that it needs beside those that are here.
    """
    project = tomllib.loads((tree / "pyproject.toml").read_text())["project"]
    about = f"rallypoint-{project['version']}.dist-info"
    files = {
        f"{package}/{path.relative_to(tree / place)}": path.read_bytes()
        for place, package in _PACKAGES.items()
        for path in sorted((tree / place).rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }
    files |= {name: text.encode() for name, text in (edits or {}).items()}
    scripts = [f"{name} = {where}" for name, where in project["scripts"].items()]
    # As they are here, whatever the tree's own are: these are the packages that are here.
    wanted = [each for each in metadata.requires("rallypoint") or () if "extra ==" not in each]
    requires = [f"Requires-Dist: {each}" for each in (*wanted, *more)]
    told = ["Metadata-Version: 2.1", "Name: rallypoint", f"Version: {project['version']}", *requires, ""]
    files[f"{about}/METADATA"] = "\n".join(told).encode()
    files[f"{about}/WHEEL"] = b"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    files[f"{about}/entry_points.txt"] = "\n".join(["[console_scripts]", *scripts, ""]).encode()
    files[f"{about}/RECORD"] = _record(files, f"{about}/RECORD")
    folder.mkdir(parents=True, exist_ok=True)
    wheel = folder / f"rallypoint-{project['version']}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return wheel


def _record(files: Mapping[str, bytes], own: str) -> bytes:
    def digest(content: bytes) -> str:
        return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")

    lines = [f"{name},sha256={digest(content)},{len(content)}" for name, content in files.items()]
    return "\n".join([*lines, f"{own},,", ""]).encode()


def previous_tree(folder: Path) -> Path:
    """The sources of the commit before what is here: the last one where there are changes, else the one before."""

    def git(*words: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, check=False)

    dirty = git("status", "--porcelain", "--untracked-files=no").stdout.strip()
    packed = git("archive", "HEAD" if dirty else "HEAD~1", "pyproject.toml", *_PACKAGES)
    if packed.returncode:
        missing("the previous commit's sources", "run the tests in a clone with its history: git fetch --unshallow")
    with tarfile.open(fileobj=BytesIO(packed.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return folder


def build_of(wheel: Path) -> str:
    """What an installed version of the wheel is called."""
    version = wheel.name.split("-")[1]
    return version_name(version, hashlib.sha256(wheel.read_bytes()).hexdigest())


def install(wheel: Path, prefix: Path, state_dir: Path) -> Installation:
    """Install the wheel as the installer does for an ordinary user, without systemd."""
    name = build_of(wheel)
    environment = prefix / "versions" / name
    environment.parent.mkdir(parents=True)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
    site = next(environment.glob("lib/python3*/site-packages"))
    (site / "packages.pth").write_text(f"{_SITE}\n")
    unpack(wheel, environment, site)
    switch(prefix, name)
    installation = Installation(
        prefix=prefix,
        mode=Mode.USER,
        supervisor=Supervisor.BACKGROUND,
        state_dir=state_dir,
        coordinator="",
        install_url="",
        pin="",
        python=sys.executable,
    )
    save(installation)
    return installation
