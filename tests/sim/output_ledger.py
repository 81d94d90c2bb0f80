"""What must never happen to the output of processes and to the files of jobs, seen from outside."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from coordinator.core.ids import JobId
from coordinator.core.model import EndCause, Node
from tests.sim.output import SIZES, check_stored

if TYPE_CHECKING:
    from tests.sim.host import Host
    from tests.sim.ledger import Outcome
    from tests.sim.world import World


class Violated(AssertionError):
    """Something happened that must never happen."""


class OutputLedger:
    """A part of the ledger."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._stored: dict[str, int] = {}
        self._starts: dict[str, tuple[str, int]] = {}
        self._began_anew: set[str] = set()
        self._wrong_files = ""

    def started(self, key: str, host: Host) -> None:
        """A process begins, on this host in its present boot."""
        if key in self._starts:
            # The machine died and forgot it: one file, and nobody told, holds what is left of one run and another.
            self._began_anew.add(key)
        self._starts[key] = (host.id, host.boots)

    def check_files(self, node: Node) -> None:
        """No attempt fails for its job's files, with which nothing is wrong."""
        if node.cause is EndCause.START_FAILED or self._wrong_files:
            raise Violated(f"{node.job_id}.{node.rank} fails for its files: {self._wrong_files or node.reason}")

    def unpacked(self, key: str, said: str) -> None:
        """A host laid a job's files ready."""
        job, _, _ = key.partition(".")
        name = self.world.disk.jobs[JobId(job)].name
        if said != name:
            self._wrong_files = f"{key} of {name} got the files of {said}"

    def stored(self, key: str, offset: int) -> None:
        """An agent was told that the coordinator has all output of an attempt before ``offset``."""
        before = self._stored.get(key, 0)
        if offset < before:
            raise Violated(f"of {key} the coordinator had {before} bytes, and has {offset}")
        self._stored[key] = offset
        self._check_output(key, before, offset)

    def published(self, host: Host, key: str) -> None:
        """An agent takes the output of an ended attempt to be with the coordinator, or wanted by nobody."""
        size = host.files.sizes.get(key, 0)
        node = self._node_of(key)
        if node is not None and node.host_id == host.id and self._stored.get(key, 0) < size:
            raise Violated(f"{host.name} lets go of {key} at {size} bytes, and was told of {self._stored.get(key, 0)}")

    def check(self, outcomes: Mapping[str, Outcome]) -> None:
        """Of every attempt that ended by itself all output is there, and what was acknowledged of any."""
        for key, offset in self._stored.items():
            self._check_output(key, 0, offset)
        for key, outcome in outcomes.items():
            node = self._node_of(key)
            if outcome.cause is not EndCause.EXIT or node is None or self._host_gone(key):
                continue
            if self._stored.get(key, 0) < node.log_bytes:
                raise Violated(f"{key} wrote {node.log_bytes} bytes, of which {self._stored.get(key, 0)} are stored")

    def _host_gone(self, key: str) -> bool:
        """Whether the attempt's host was removed since, or died: nobody had synced what was written there last."""
        name, boot = self._starts[key]
        host = self.world.hosts[name]
        return host.removed or host.boots != boot

    def _may_drop(self) -> bool:
        return self.world.log_limit < max(SIZES) or any(
            (host.files.limits.keep or 0) < max(SIZES) for host in self.world.hosts.values()
        )

    def _node_of(self, key: str) -> Node | None:
        """The node whose latest attempt this is."""
        job, rank, attempt = key.split(".")
        node = self.world.disk.nodes.get((JobId(job), int(rank)))
        return node if node is not None and str(node.attempt) == attempt else None

    def _check_output(self, key: str, start: int, end: int) -> None:
        if self.world.coordinator is None or key in self._began_anew:
            return
        try:
            gaps = check_stored(self.world.coordinator.logs, key, start, end)
        except ValueError as error:
            raise Violated(f"output of {key}, acknowledged up to {end}: {error}") from None
        if gaps and not self._may_drop() and not self._host_gone(key):
            raise Violated(f"output of {key} has a gap of {gaps} bytes, and nobody limits it")
