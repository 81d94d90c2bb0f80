"""The installation, step by step. Everything until the host has joined is undone when a step fails."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from agent.install import disk, hosting, options
from agent.install.errors import CannotInstall, because
from agent.install.order import Order, read_token
from agent.install.plan import found_in, identity_of, make_plan
from agent.install.undo import Undo
from agent.installation import current_version


def install(order: Order, environ: Mapping[str, str]) -> None:
    """Install, repair or upgrade. Raises ``CannotInstall``; then things are as they were before."""
    plan = make_plan(order, environ)
    identity = identity_of(plan)
    known = identity is not None
    token = "" if identity else read_token(order.token_file, plan.manifest.cluster)
    old = current_version(plan.installation.prefix)
    with Undo() as undo:
        try:
            undo.directory(plan.installation.prefix)
            with _alone(plan.installation.prefix):
                if found_in(plan.installation.prefix) != plan.before:
                    # Its plan is of a machine without that one: it would join again, and undo what is not its own.
                    text = f"another installer was at work in {plan.installation.prefix} meanwhile"
                    raise CannotInstall(f"{text}: run the line again if it is still needed")
                undo.write_to(plan.installation.prefix / ".installing.json")
                disk.put(plan, undo)
                identity = identity or hosting.join(plan, token)
        except OSError as error:
            raise CannotInstall(f"it can't be written: {because(error)}") from None
        # The host is a member now: what is left to do can be done by running the line again.
        undo.keep()
    disk.tidy(plan, old)
    stated = known and options.apply(order.join, identity)
    hosting.start(plan, identity, changed=stated or old != plan.name)


@contextmanager
def _alone(prefix: Path) -> Iterator[None]:
    """No two installers at once."""
    handle = os.open(prefix, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise CannotInstall(f"another installer works in {prefix}: wait for its end") from None
    finally:
        os.close(handle)
