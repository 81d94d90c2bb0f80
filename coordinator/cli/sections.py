"""Options under headings: a command with many of them stays readable in its help."""

from __future__ import annotations

from typing import Any

import click

_OWN = "This command"


class SectionOption(click.Option):
    """An option that knows under which heading it stands."""

    def __init__(self, *args: Any, section: str, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.section = section


class Sectioned(click.Command):
    """A command whose help has a heading for each section, in the order in which their options are declared."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write all options, section by section; those without one come last."""
        found: dict[str, list[tuple[str, str]]] = {}
        own: list[tuple[str, str]] = []
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is None or not isinstance(parameter, click.Option):
                continue
            records = found.setdefault(parameter.section, []) if isinstance(parameter, SectionOption) else own
            records.append(record)
        for heading, records in {**found, _OWN: own}.items():
            with formatter.section(heading):
                formatter.write_dl(records)
