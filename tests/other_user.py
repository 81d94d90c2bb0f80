"""Agents whose nodes run as somebody else: who that is, and folders that everybody can pass (pytest's are closed)."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# User ids that no account has, and that others who run these tests at the same time may share without harm.
TASK, OTHER = 54_321, 54_322


@contextmanager
def open_folder(prefix: str) -> Iterator[Path]:
    """A folder, gone afterwards."""
    made = Path(tempfile.mkdtemp(prefix=prefix))
    made.chmod(0o755)
    try:
        yield made
    finally:
        shutil.rmtree(made)
