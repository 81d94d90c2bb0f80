"""The log as `agent logs` shows it: its last lines, then what is added, also when it begins anew."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from pathlib import Path

_LOOK_SECONDS = 0.25
_PIECE = 1 << 16


def print_log(path: Path, lines: int, out: BinaryIO, follow: bool) -> None:
    """Write the last ``lines`` to ``out``; with ``follow`` go on until interrupted, or until nobody reads.

    Raises OSError: it can't be read.
    """
    try:
        with path.open("rb") as log:
            # One line is never as long as would matter: what the agent logs is bounded.
            out.writelines(deque(log, maxlen=lines))
            out.flush()
            while follow:
                _go_on(log, path, out)
    except BrokenPipeError:
        return


def _go_on(log: BinaryIO, path: Path, out: BinaryIO) -> None:
    if path.stat().st_size < log.tell():
        log.seek(0)
    while piece := log.read(_PIECE):
        out.write(piece)
    out.flush()
    time.sleep(_LOOK_SECONDS)
