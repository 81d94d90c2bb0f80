"""Tables: coloured and fitted on a terminal, plain aligned columns everywhere else."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TextIO

import click

Row = Sequence[str]

_COLOURS = {
    "running": "green",
    "online": "green",
    "done": "green",
    "failed": "red",
    "lost": "red",
    "stopped": "yellow",
    "stopping": "yellow",
    "suspect": "yellow",
    "offline": "bright_black",
    "starting": "cyan",
    "placed": "cyan",
}


def print_table(header: Row, rows: Sequence[Row], *, important: Row = (), to_stderr: bool = False) -> None:
    """One row a line. Empty cells are ``-``; cells with white space inside come last or are short.

    On a terminal that is too narrow, columns are left out, those first that ``important`` names last (or not at all;
    without it the order is the table's).
    """
    stream: TextIO = sys.stderr if to_stderr else sys.stdout
    filled = [[_cell(cell) for cell in row] for row in rows]
    if stream.isatty():
        _print_rich(header, filled, stream, important or header)
    else:
        click.echo(plain_table(header, filled), file=stream)


def plain_table(header: Row, rows: Sequence[Row]) -> str:
    """Columns divided by at least two spaces, nothing cut off: stable and easy to grep."""
    lines = [list(header), *[list(row) for row in rows]]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def _cell(text: str) -> str:
    return " ".join(text.split()) or "-"


def _print_rich(header: Row, rows: Sequence[Row], stream: TextIO, important: Row) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from coordinator.cli.fitting import GAP, fit

    console = Console(file=stream, highlight=False)
    widths = fit(header, rows, console.width, important)
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, GAP, 0, 0))
    for at, width in widths.items():
        table.add_column(header[at], width=width, overflow="fold")
    for row in rows:
        table.add_row(*(Text(row[at], style=_COLOURS.get(row[at], "")) for at in widths))
    console.print(table)
    says = (at for at in range(len(header)) if at not in widths and any(row[at] != "-" for row in rows))
    if left_out := [header[at] for at in says]:
        click.echo(f"(too narrow for {', '.join(left_out)}; a pipe or --json has all)", err=True)
