"""CUDA for hosts without a GPU: a stub `libcuda.so.1` that does the work of `agent check --burn` on the CPU.

    env = cuda_env(tmp_path / "cuda")                     # a GPU of 8 MiB that calculates rightly
    env = cuda_env(tmp_path / "cuda", wrong="tensor")     # for what may be wrong with it see stub.c

With it goes the stub NVML: their folders are both in ``LD_LIBRARY_PATH``.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support import missing

if TYPE_CHECKING:
    from collections.abc import Mapping


def build_stub(folder: Path) -> Path:
    """Compile the stub into ``folder`` (once) and return that."""
    library = folder / "libcuda.so.1"
    if not library.exists():
        compiler = shutil.which("gcc") or missing("gcc", "install it, for example with 'apt-get install gcc libc6-dev'")
        flags = ["-std=c11", "-O2", "-D_GNU_SOURCE", "-Wall", "-Werror", "-shared", "-fPIC", "-ffp-contract=off"]
        source = Path(__file__).with_name("stub.c")
        command = [compiler, *flags, f"-Wl,-soname,{library.name}", "-o", str(library), str(source), "-lm"]
        subprocess.run(command, check=True)
    return folder


def cuda_env(folder: Path, environ: Mapping[str, str] | None = None, **settings: object) -> dict[str, str]:
    """The variables of a process that has this GPU besides what ``environ`` gives it."""
    folder.mkdir(parents=True, exist_ok=True)
    settings_file = folder / "settings"
    settings_file.write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
    others = (environ or os.environ).get("LD_LIBRARY_PATH")
    path = f"{build_stub(folder)}{os.pathsep}{others}" if others else str(build_stub(folder))
    return {**(environ or {}), "LD_LIBRARY_PATH": path, "RALLYPOINT_CUDA_STUB": str(settings_file)}
