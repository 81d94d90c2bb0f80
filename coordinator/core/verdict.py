"""What follows from what a group has measured: it starts, is formed anew without a host, or its job fails."""

from __future__ import annotations

from dataclasses import dataclass, replace

from coordinator.core.ids import HostId
from coordinator.core.measured import PreflightReport
from coordinator.core.measuring import Measuring
from coordinator.core.model import Job
from coordinator.core.outliers import Findings, findings, worst_first
from coordinator.core.preflight import host_name
from coordinator.core.spec import OnSlow
from coordinator.core.turn import Turn
from coordinator.core.words import several

# So often in a row a group is formed anew for what is slow: wrong limits must not walk it through the whole fleet.
MAX_REPLACED = 3
# So many links are kept with the job, the slowest of them, and so many slow ones are named in its reason.
KEPT_LINKS = 256
NAMED = 3


@dataclass(frozen=True, slots=True)
class Verdict:
    """``starts``: the group is told to start; else ``avoids`` are the hosts that the next one does without, and without
    any the job fails. ``reason`` says what is slow; empty: nothing."""

    report: PreflightReport
    starts: bool
    reason: str = ""
    avoids: tuple[HostId, ...] = ()


def reach(turn: Turn, job: Job, measured: Measuring) -> Verdict:
    """The verdict on a group that has measured all it was to."""
    hosts = [member.host_id for member in measured.group.members]
    names = [host_name(turn.state, host) for host in hosts]
    found = findings(names, measured.links, measured.devices, measured.policy)
    if not any(each.unable for each in measured.unmeasured):
        # Where one host has no torch the others wait for it in vain. Where all have it a failure is theirs.
        found = replace(found, slow=(*found.slow, *_notes(measured)))
    report = _report(turn, measured, found)
    if not found.slow:
        return Verdict(report, starts=True, reason="; ".join(filter(None, (job.reason, _in_words(report.notes)))))
    reason, on_slow = _in_words(found.slow), measured.policy.on_slow
    if on_slow is OnSlow.WARN:
        return Verdict(report, starts=True, reason=reason)
    if on_slow is OnSlow.FAIL:
        return Verdict(report, starts=False, reason=reason)
    before = job.preflight.replaced if job.preflight is not None else 0
    blamed = tuple(host for host, name in zip(hosts, names, strict=True) if name in found.blamed)
    why_not = _why_not(job, blamed, len(hosts), before)
    if not why_not:
        return Verdict(replace(report, replaced=before + 1), starts=False, reason=reason, avoids=blamed)
    # A limit that the user gave holds; what is only far from the rest is better than no group at all.
    return Verdict(report, starts=not found.limit, reason=f"{reason}; no other group was formed: {why_not}")


def _why_not(job: Job, blamed: tuple[HostId, ...], members: int, before: int) -> str:
    """Why another group would be no better; empty when it may be."""
    if not blamed:
        return "no host is to blame for that alone"
    if 2 * len(blamed) > members:
        return "that is no matter of a few hosts"
    if all(host in job.avoids for host in blamed):
        return "no other host was free"
    return f"{before} were formed already" if before >= MAX_REPLACED else ""


def _report(turn: Turn, measured: Measuring, found: Findings) -> PreflightReport:
    ordered = sorted(measured.links, key=worst_first)
    return PreflightReport(
        generation=measured.group.generation,
        ended_at=turn.at.wall,
        slow=found.slow[:KEPT_LINKS],
        blamed=found.blamed,
        notes=_notes(measured),
        bandwidth=found.bandwidth,
        latency=found.latency,
        all_reduce=min(measured.all_reduces, default=None),
        links=tuple(ordered[:KEPT_LINKS]),
        devices=tuple(sorted(measured.devices, key=lambda device: device.flops)[:KEPT_LINKS]),
    )


def _notes(measured: Measuring) -> tuple[str, ...]:
    """What was not measured, and why: a line for each reason, with the hosts."""
    hosts: dict[str, list[str]] = {}
    for each in measured.unmeasured:
        hosts.setdefault(each.problem, []).append(each.host)
    lines = (f"no all-reduce: {several(sorted(names), NAMED)}: {problem}" for problem, names in hosts.items())
    return tuple(lines)[:KEPT_LINKS]


def _in_words(lines: tuple[str, ...]) -> str:
    return f"preflight: {several(lines, NAMED, '; ')}" if lines else ""
