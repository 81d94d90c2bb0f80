"""Writing context files; ``coordinator.context`` reads them."""

from __future__ import annotations

from pathlib import Path

from rallypoint.files import make_private_dir, write_private

from coordinator.context import Context

_HEADER = "# How 'coordinator' commands find and trust this cluster. Holds a user's token: keep it to yourself.\n"


def render_context(context: Context) -> str:
    """The context as TOML."""
    others = ", ".join(f'"{address}"' for address in context.others)
    more = f"others = [{others}]\n" if others else ""
    return (
        f'{_HEADER}address = "{context.address}"\n'
        f"{more}"
        f'cluster_id = "{context.cluster_id}"\n'
        f'token = "{context.token}"\n'
        f'ca_pem = """\n{context.ca_pem.decode()}"""\n'
    )


def write_context(path: Path, context: Context) -> None:
    """Write a context file for its owner only (0600), atomically; a missing directory is made (0700)."""
    if not path.parent.exists():
        make_private_dir(path.parent)
    write_private(path, render_context(context).encode())
