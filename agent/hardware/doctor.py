"""`agent doctor`: read this host's hardware, say what is wrong with it and how to mend it."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from agent.hardware.diagnosis import Finding, Level, diagnose
from agent.hardware.driver import read_driver_facts
from agent.hardware.nvml import NvmlProbe
from agent.hardware.report import read_hardware

if TYPE_CHECKING:
    from collections.abc import Iterable

_COLOURS: dict[Level, str] = {"ok": "green", "warn": "yellow", "error": "red"}
_INDENT = 17


def run_doctor(extra_findings: Iterable[Finding] = (), as_json: bool = False, verbose: bool = False) -> int:
    """Examine this host and print what is found, with ``extra_findings`` last.

    Returns the exit code: 1 if anything found is an error, else 0.
    """
    findings = (*asyncio.run(_examine()), *extra_findings)
    click.echo(_as_json(findings) if as_json else "\n".join(_lines(findings, verbose)))
    return 1 if any(finding.level == "error" for finding in findings) else 0


async def _examine() -> tuple[Finding, ...]:
    async with NvmlProbe() as probe:
        report = await read_hardware(probe)
    return diagnose(report, read_driver_facts())


def _lines(findings: tuple[Finding, ...], verbose: bool) -> Iterable[str]:
    following = (*(finding.way_out for finding in findings[1:]), "")
    for finding, next_way_out in zip(findings, following, strict=True):
        level = click.style(f"{finding.level:<6}", fg=_COLOURS[finding.level])
        yield f"{level} {finding.topic:<9} {finding.text}"
        if verbose and finding.detail:
            yield f"{'':{_INDENT}}{finding.detail}"
        # What mends several is said once, after the last of them.
        if finding.way_out and finding.way_out != next_way_out:
            yield f"{'':{_INDENT}}to mend it: {finding.way_out}"


def _as_json(findings: Iterable[Finding]) -> str:
    told = [asdict(finding) for finding in findings]
    return json.dumps({"version": 1, "findings": told}, indent=2)
