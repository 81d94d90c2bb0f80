"""The table of offers: what each host could give to a job."""

from __future__ import annotations

from rallypoint.v1 import job_service_pb2 as job_pb

from coordinator.cli import words
from coordinator.cli.table import print_table


def print_offers(offers: list[job_pb.Offer], *, verdict: bool, to_stderr: bool = False) -> None:
    """One host a line; with ``verdict`` a last column says why a host is not chosen."""
    header = ["HOST", "NETWORK", "BACKEND/REGION", "GPUS", "CPUS", "MEMORY", "PRICE", "NODES"]
    rows = [_row(offer) for offer in offers]
    if verdict:
        header.append("WHY")
        rows = [[*row, _verdict(offer)] for row, offer in zip(rows, offers, strict=True)]
    print_table(header, rows, to_stderr=to_stderr)


def _row(offer: job_pb.Offer) -> list[str]:
    return [
        offer.host_name,
        offer.network,
        "/".join(part for part in (offer.backend, offer.region) if part),
        offer.gpus,
        str(offer.cpus),
        words.size(offer.memory_bytes),
        words.price(offer.price_per_hour) if offer.HasField("price_per_hour") else "",
        str(offer.nodes_chosen),
    ]


def _verdict(offer: job_pb.Offer) -> str:
    if offer.rejection:
        return offer.rejection
    if offer.nodes_chosen:
        return f"chosen for {offer.nodes_chosen} of the {offer.nodes_now} nodes it can hold now"
    if offer.nodes_now:
        return f"fits; not chosen now, could hold {offer.nodes_now}"
    return f"busy; can hold {offer.nodes_ever} when idle"
