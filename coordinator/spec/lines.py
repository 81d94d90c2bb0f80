"""``each_line``: a node for each line of a file."""

from __future__ import annotations

from pathlib import Path

from coordinator.core.matrix import Axis, Matrix, MatrixSource
from coordinator.core.spec import MAX_NODES
from coordinator.spec.problems import Wrong
from coordinator.spec.rules import MAX_MATRIX_BYTES, check_text

LINE_PARAMETER = "line"
"""What a line is called in ``${{ matrix.line }}``."""


def read_lines(file: Path) -> Matrix:
    """The nodes of a file: its lines, without the empty ones. Raises ``Wrong``."""
    name = repr(str(file))
    try:
        with file.open("rb") as stream:
            content = stream.read(MAX_MATRIX_BYTES + 1)
    except OSError as error:
        raise Wrong(f"each_line: {name} can't be read: {error.strerror}; check the path and its permissions") from None
    if len(content) > MAX_MATRIX_BYTES:
        raise Wrong(
            f"each_line: {name} is larger than {MAX_MATRIX_BYTES // 2**20} MB, the most that a job may carry; send"
            " it with 'files', give nodes numbers with 'array', and let each read its own line"
        )
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise Wrong(f"each_line: {name}, line {line}, is not text in UTF-8; is it the right file?") from None
    # Not splitlines(): a form feed or U+2028 is part of a line.
    lines = tuple(check_text("a line", line) for line in (each.removesuffix("\r") for each in text.split("\n")) if line)
    if not lines:
        raise Wrong(f"each_line: {name} has no lines; a job needs a node; is it the right file?")
    if len(lines) > MAX_NODES:
        raise Wrong(f"each_line: {name} has {len(lines)} lines; a job has at most {MAX_NODES} nodes; divide the file")
    return Matrix((Axis(LINE_PARAMETER, lines),), source=MatrixSource.LINES)
