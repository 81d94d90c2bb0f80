"""The second half of the installer; the seed runs it out of the wheel."""

from __future__ import annotations

import io
import os
import shutil
import signal
import sys

from agent.install.errors import CannotInstall, because
from agent.install.order import parse, seeds_folder
from agent.install.steps import install


def main() -> int:
    """Install; the exit code."""
    folder = seeds_folder(sys.argv[1:])
    try:
        return _main()
    finally:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


def _main() -> int:
    order = parse(sys.argv[1:])
    # What root installs, other users have to read; what is nobody's business is closed by its own mode.
    os.umask(0o022)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)
    # What starts now may live for long, and others may read its environment.
    os.environ.pop("RALLYPOINT_JOIN_TOKEN", None)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupted)
    try:
        install(order, os.environ)
        return 0
    except CannotInstall as error:
        text = " ".join(str(error).split())
    except KeyboardInterrupt:
        text = "interrupted; everything is as it was before"
    except OSError as error:
        text = f"it can't be installed: {because(error)}"
    print(f"rallypoint: {text}", file=sys.stderr)
    return 1


def _interrupted(number: int, _: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
