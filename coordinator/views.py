"""What readers see of the engine: plain snapshots, the same for gRPC, the web page and `--json`.

Field names and meanings are those of ``protos/rallypoint/v1/types.proto``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from coordinator.core.health_records import HostEvent, HostHealth
from coordinator.core.model import Host, Job, Node, NodeState
from coordinator.paging import NodeQuery

FIRST_NODES = NodeQuery()


@dataclass(frozen=True, slots=True)
class NodeCounts:
    """How many nodes of a job are in each state."""

    pending: int = 0
    placed: int = 0
    running: int = 0
    stopping: int = 0
    done: int = 0
    failed: int = 0
    stopped: int = 0


@dataclass(frozen=True, slots=True)
class CopyView:
    """One of several attempts of a node that hold something now (redundancy)."""

    attempt: int
    host_id: str
    host_name: str
    state: NodeState
    reason: str
    started_at: float


@dataclass(frozen=True, slots=True)
class NodeView:
    """A node and the name of the host it is or was on; of a job with redundancy also its copies, oldest first.

    ``price_per_hour``: USD, of all that the node holds now. ``log_dropped``: bytes of its output that are not kept;
    counted only where output is asked for, as ``last_line`` is looked for. ``parameters`` are its values of a matrix,
    ``group`` is the name of its group of nodes.
    """

    node: Node
    host_name: str
    copies: tuple[CopyView, ...] = ()
    log_dropped: int = 0
    price_per_hour: float = 0.0
    parameters: Mapping[str, str] = field(default_factory=dict)
    last_line: str = ""
    group: str = ""


@dataclass(frozen=True, slots=True)
class JobView:
    """A job, the counts of its nodes, why it waits, failed or was stopped (as of now; empty: nothing to say), and the
    names of the hosts that it holds as spares. ``spent`` in USD until now, ``price_per_hour`` of what it holds now."""

    job: Job
    counts: NodeCounts
    reason: str = ""
    spare_hosts: tuple[str, ...] = ()
    spent: float = 0.0
    price_per_hour: float = 0.0


@dataclass(frozen=True, slots=True)
class HostView:
    """A host, what is held of it, the network it was seen to belong to, and how many seconds its calls take.

    ``vacates_at`` is when its work goes, or went (Unix seconds; 0: it may stay), ``health`` what was seen of its GPUs.
    """

    host: Host
    cpus_used: int
    memory_used_bytes: int
    gpus_used: tuple[str, ...]
    allocations: tuple[str, ...]
    network: str
    warning: str
    round_trip: float | None = None
    vacates_at: float = 0.0
    health: HostHealth | None = None


@dataclass(frozen=True, slots=True)
class NetworkView:
    """Hosts that were seen to reach each other, and the directed pairs among them that do not."""

    name: str
    host_names: tuple[str, ...]
    broken_links: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class OverviewView:
    """Everything a page of the whole cluster shows. ``events`` are those of hosts, the oldest first; ``breaker`` is
    whether no more hosts are fenced for now, however bad their GPUs are."""

    hosts: tuple[HostView, ...]
    networks: tuple[NetworkView, ...]
    jobs: tuple[JobView, ...]
    events: tuple[HostEvent, ...] = ()
    breaker: bool = False


@dataclass(frozen=True, slots=True)
class JobDetail:
    """A job with a page of its nodes that have been placed at least once, in rank order.

    ``next_rank`` is where the next page begins, None after the last; ``total`` counts all that were asked for, if that
    was asked.
    """

    job: JobView
    nodes: tuple[NodeView, ...]
    next_rank: int | None = None
    total: int = 0


class Reader(Protocol):
    """How readers see the engine: consistent, committed snapshots, never its insides."""

    async def overview(self) -> OverviewView:
        """Hosts, networks and jobs at one moment."""
        ...

    async def job(self, ref: str, query: NodeQuery = FIRST_NODES) -> JobDetail:
        """One job by id or name, with the nodes that are asked for. Raises coordinator.core.errors.NotFound."""
        ...

    async def next_version(self, seen: int) -> int:
        """Wait until anything changed after version ``seen``; the new version."""
        ...
