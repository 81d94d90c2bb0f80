"""The table of offers: what each host could give to a job, and what speaks for it or against it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import click
from rallypoint.v1 import job_service_pb2 as job_pb

from coordinator.cli import words
from coordinator.cli.table import print_table
from coordinator.core.words import several

# So many hosts of which the same is said are named.
NAMED = 4

Column = tuple[str, Callable[[job_pb.Offer], str]]


def print_offers(
    offers: Sequence[job_pb.Offer], *, verdict: bool, to_stderr: bool = False, submitted: bool = False
) -> None:
    """One host a line; with ``verdict`` lines below say why a host is chosen, or is not, and what would help.

    ``submitted``: hosts are not chosen for nodes of the job, they hold them.

    What is said of no host, or the same of all (where they are), is left out, so that the table fits 120 columns.
    """
    said = [(title, [write(offer) for offer in offers]) for title, write in _COLUMNS]
    shown = [(title, cells) for title, cells in said if any(cells) or title in _ALWAYS]
    if len({_place(offer) for offer in offers}) == 1:
        shown = [(title, cells) for title, cells in shown if title != _PLACE]
    rows = list(zip(*(cells for _, cells in shown), strict=True))
    print_table([title for title, _ in shown], rows, important=_IMPORTANT, to_stderr=to_stderr)
    if verdict:
        click.echo("\n" + "\n".join(_verdicts(offers, submitted)), err=to_stderr)


def _verdicts(offers: Sequence[job_pb.Offer], submitted: bool) -> list[str]:
    """Hosts of which the same is said share a line."""
    hosts: dict[str, list[str]] = {}
    for offer in offers:
        hosts.setdefault(_held(offer) if submitted and offer.nodes_chosen else _verdict(offer), []).append(
            offer.host_name
        )
    return [f"{several(names, NAMED)}: {verdict}" for verdict, names in hosts.items()]


def until_done(plan: job_pb.PlanJobResponse) -> str:
    """``, about $4.20 until done (by max_duration, at most)``; empty where nothing costs anything."""
    if not plan.HasField("price_per_hour"):
        return ""
    if not plan.HasField("price_until_done"):
        return ", unknown until done: the job states no max_duration"
    return f", {words.money(plan.price_until_done)} until done ({plan.price_basis})"


def _place(offer: job_pb.Offer) -> str:
    return "/".join(part for part in (offer.backend, offer.region) if part)


def _gpus(offer: job_pb.Offer) -> str:
    """``6/8 × H100 80GB HBM3``: so many of them are free."""
    return f"{offer.gpus_free}/{offer.gpus}".replace("NVIDIA ", "") if offer.gpus else ""


def _memory(offer: job_pb.Offer) -> str:
    return f"{words.size(offer.memory_free_bytes)}/{words.size(offer.memory_bytes)}" if offer.memory_bytes else ""


def _variant(offer: job_pb.Offer) -> str:
    return f"{offer.variant} ({offer.precision})" if offer.variant and offer.precision else offer.variant


def _price(offer: job_pb.Offer) -> str:
    """Of one node, or (in brackets) of the whole host, where a node would not fit."""
    if not offer.HasField("price_per_hour"):
        return ""
    if offer.HasField("score"):
        return words.price(offer.score.price_per_hour)
    return f"({words.price(offer.price_per_hour)})"


def _latency(offer: job_pb.Offer) -> str:
    return f"{offer.score.latency_seconds * 1000:.3g}ms" if offer.score.HasField("latency_seconds") else ""


_PLACE = "BACKEND/REGION"
_COLUMNS: tuple[Column, ...] = (
    ("HOST", lambda offer: offer.host_name),
    ("NETWORK", lambda offer: offer.network),
    (_PLACE, _place),
    ("GPUS", _gpus),
    ("CPUS", lambda offer: f"{offer.cpus_free}/{offer.cpus}" if offer.cpus else ""),
    ("MEMORY", _memory),
    ("VARIANT", _variant),
    ("NODE", _price),
    ("LATENCY", _latency),
    ("NODES", lambda offer: str(offer.nodes_chosen)),
)
_ALWAYS = ("HOST", "NODES")
_IMPORTANT = ("HOST", "NODES", "GPUS", "CPUS", "MEMORY", "NODE", "VARIANT", "NETWORK", _PLACE, "LATENCY")


def _held(offer: job_pb.Offer) -> str:
    """Of a host that holds nodes of the job: what keeps it from more of them is no refusal of the job."""
    nodes = "one of its nodes" if offer.nodes_chosen == 1 else f"{offer.nodes_chosen} of its nodes"
    return f"holds {nodes}; room for {offer.nodes_now or 'none'} more"


def _verdict(offer: job_pb.Offer) -> str:
    if offer.rejection:
        return f"{offer.rejection}; would fit {offer.remedy}" if offer.remedy else offer.rejection
    if offer.nodes_chosen:
        said = f"chosen for {offer.nodes_chosen} of the {offer.nodes_now} nodes it can hold now"
    elif offer.nodes_now:
        said = f"fits; not chosen now, could hold {offer.nodes_now}"
    else:
        said = f"busy; can hold {offer.nodes_ever} when idle"
    terms = _terms(offer.score) if offer.HasField("score") else []
    terms += [f"not seen how near it is: {offer.near_problem}"] if offer.near_problem else []
    return f"{said} ({', '.join(terms)})" if terms else said


def _terms(score: job_pb.Score) -> list[str]:
    """The terms of the score that no column shows: ``2h a node``, ``25% held``."""
    hours = [f"{words.span(score.hours * 3600)} a node"] if score.HasField("hours") else []
    found = [*hours, f"{score.held:.0%} held"]
    if score.here or score.in_domain:
        found.append(f"{score.here} of its nodes here, {score.in_domain} in its domain")
    return found
