"""A small file system of its own, and a way to fill it."""

from __future__ import annotations

import errno
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support import missing


@contextmanager
def mounted(directory: Path, size: str = "2m") -> Iterator[Path]:
    """Mount one of ``size`` on ``directory``; skips the test where this process may not."""
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(directory)]
    mount = subprocess.run(command, capture_output=True, text=True)
    if mount.returncode != 0:
        missing("a small file system", f"run as root, who may mount one ({mount.stderr.strip()})")
    try:
        yield directory
    finally:
        # Lazily: a test that failed with a file open must not leave a mount that no later run can clear away.
        subprocess.run(["umount", "--lazy", str(directory)], check=True)


def fill(ballast: Path) -> None:
    """Leave no byte on the file's disk; removing the file gives them back."""
    with ballast.open("wb", buffering=0) as file:
        while True:
            try:
                file.write(bytes(4096))
            except OSError as error:
                if error.errno == errno.ENOSPC:
                    return
                raise
