"""The option type for durations."""

from __future__ import annotations

import click


class _Duration(click.ParamType[float]):
    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Seconds from ``90s``, ``5m``, ``1h``; numbers are seconds already."""
        from coordinator.spec.durations import parse_duration
        from coordinator.spec.problems import Wrong

        if isinstance(value, int | float):
            return float(value)
        try:
            return parse_duration(str(value))
        except Wrong as wrong:
            self.fail(str(wrong), param, ctx)


DURATION = _Duration()
