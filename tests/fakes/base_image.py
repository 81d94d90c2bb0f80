"""A small base image of this machine's own Python, for tests that may fetch none."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from shutil import which

from tests.support import missing

_APPLETS = ("sh", "mkdir", "chown", "chmod", "cat", "id", "env", "ls", "true", "sleep")
# What wheels of native code need besides.
_LIBRARIES = ("libstdc++.so.6", "libgcc_s.so.1", "librt.so.1", "libpthread.so.0", "libdl.so.2", "libutil.so.1")


def base_root(folder: Path) -> Path:
    """Make the root of a file system with a shell, Python and its venv module in ``folder``."""
    busybox, python = which("busybox"), Path(sys.base_prefix) / "bin" / f"python{sysconfig.get_python_version()}"
    if busybox is None:
        missing("busybox", "apt install busybox-static")
    if not Path("/usr/share/python-wheels").is_dir() or not python.exists():
        missing("Debian's own Python with its venv module", "apt install python3-venv")
    for name in (
        "bin",
        "usr/bin",
        "usr/local/bin",
        "usr/share",
        "etc",
        "tmp",
        "root",
        "proc",
        "sys",
        "dev",
        "run",
        "var/lib",
    ):
        (folder / name).mkdir(parents=True)
    (folder / "tmp").chmod(0o1777)
    shutil.copy(busybox, folder / "bin" / "busybox")
    for name in _APPLETS:
        (folder / "bin" / name).symlink_to("busybox")
    shutil.copy(python, folder / "usr/bin/python3")
    library = Path(sysconfig.get_path("stdlib", vars={"installed_base": sys.base_prefix}))
    ignored = shutil.ignore_patterns("test", "idlelib", "config-*", "__pycache__")
    shutil.copytree(library, folder / library.relative_to("/"), ignore=ignored)
    shutil.copytree("/usr/share/python-wheels", folder / "usr/share/python-wheels")
    for needed in _linked([python, *(library / "lib-dynload").glob("*.so")]):
        there = folder / needed.relative_to("/")
        there.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(needed, there)
    (folder / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    (folder / "etc/group").write_text("root:x:0:\n")
    return folder


def _linked(programs: list[Path]) -> set[Path]:
    told = subprocess.run(["ldd", *programs], capture_output=True, text=True, check=False).stdout
    found = {Path(path) for path in re.findall(r"(?:=> |^\s+)(/\S+\.so\S*)", told, re.MULTILINE)}
    libc = next(path for path in found if path.name == "libc.so.6")
    return found | {libc.parent / name for name in _LIBRARIES if (libc.parent / name).exists()}
