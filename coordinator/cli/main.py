"""Entry point. Imports next to nothing: a command's module is loaded only when the command runs."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def run(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; the only place where errors become text."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments == ["--version"]:
        from rallypoint.version import __version__

        print(f"coordinator {__version__}")
        return 0
    from coordinator.cli.group import execute

    return execute(arguments)
