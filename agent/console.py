"""How the agent logs: events with fields, as JSON lines, or for people on a terminal."""

from __future__ import annotations

import sys

import structlog


def configure(verbose: bool = False) -> None:
    """Log to standard error; debug events only if ``verbose``."""
    terminal = sys.stderr.isatty()
    renderer: structlog.types.Processor = (
        structlog.dev.ConsoleRenderer() if terminal else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            renderer,
        ],
        # By number: the standard library's logging is not needed for it.
        wrapper_class=structlog.make_filtering_bound_logger(10 if verbose else 20),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
