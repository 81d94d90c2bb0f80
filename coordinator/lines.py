"""Channels to the coordinators of a cluster, of which one leads: which one calls go to, and when the next is tried."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import TypeVar

from rallypoint.tls import prepare_grpc

prepare_grpc()  # must come before grpc is imported

import grpc  # noqa: E402
from rallypoint.channel import user_channel  # noqa: E402
from rallypoint.errors import Reason  # noqa: E402
from rallypoint.v1.access_service_pb2_grpc import AccessServiceStub  # noqa: E402
from rallypoint.v1.host_service_pb2_grpc import HostServiceStub  # noqa: E402
from rallypoint.v1.job_service_pb2_grpc import JobServiceStub  # noqa: E402

from coordinator.failures import Cut, NotLeading, RallypointError, Unreachable, failure  # noqa: E402

TRY_SECONDS = 10.0
"""How long one of several addresses has for its answer, before the next is asked."""
TAKE_OVER_SECONDS = 20.0
"""How long calls look for the coordinator that leads, where there are several addresses."""

_PAUSE_SECONDS = 0.25
# As ``failures`` words what kept a call from ever leaving.
_NO_CONNECTION = ("(connection refused)", "(no route to host)", "(network is unreachable)", "not known)", "not found)")

A = TypeVar("A")


class Line:
    """The channel to one address, and its stubs."""

    def __init__(self, address: str, ca_pem: bytes, token: str) -> None:
        self.channel = user_channel(address, ca_pem=ca_pem, token=token)
        self.jobs = JobServiceStub(self.channel)
        self.hosts = HostServiceStub(self.channel)
        self.access = AccessServiceStub(self.channel)


Method = Callable[[Line], Callable[..., A]]


class Lines:
    """Lines to ``addresses``, made when they are needed; calls go to one of them until it fails."""

    def __init__(self, addresses: Iterable[str], make: Callable[[str], Line], timeout: float) -> None:
        """``timeout``: seconds that a call has when it does not say."""
        self._addresses = tuple(dict.fromkeys(addresses))
        self._make = make
        self._timeout = timeout
        self._at = 0
        self._lines: dict[str, Line] = {}
        self.reached = False
        """Whether a coordinator was ever reached: only then is a single one worth waiting for."""

    @property
    def address(self) -> str:
        """Where calls go now."""
        return self._addresses[self._at]

    def line(self) -> Line:
        """The line in use."""
        if self.address not in self._lines:
            self._lines[self.address] = self._make(self.address)
        return self._lines[self.address]

    def turn(self) -> None:
        """Use the next address."""
        self._at = (self._at + 1) % len(self._addresses)

    def hopeful(self) -> bool:
        """Whether it is worth waiting for a coordinator: one was reached before, or others may lead."""
        return self.reached or len(self._addresses) > 1

    def close(self) -> None:
        """End all calls."""
        for line in self._lines.values():
            line.channel.close()

    def ask(self, method: Method[A], request: object, timeout: float = 0.0, *, once: bool = False) -> A:
        """The answer to a call; with several addresses from the leader, for as long as another may be taking over.

        ``once``: the call is not made again when it may have been carried out. Raises RallypointError.
        """
        several = len(self._addresses) > 1
        limit = timeout or (min(self._timeout, TRY_SECONDS) if several and not once else self._timeout)
        until, tries = time.monotonic() + TAKE_OVER_SECONDS, 0
        while True:
            try:
                answer = method(self.line())(request, timeout=limit)
            except grpc.RpcError as error:
                problem = failure(error, self.address)
                self.reached = self.reached or isinstance(problem, Cut)
            else:
                self.reached = True
                return answer
            if isinstance(problem, Unreachable):
                self.turn()
            again = _never_arrived(problem) if once else isinstance(problem, Unreachable)
            if not (several and again) or time.monotonic() >= until:
                raise problem from None
            tries += 1
            if tries % len(self._addresses) == 0:
                time.sleep(_PAUSE_SECONDS)


def is_away(problem: RallypointError) -> bool:
    """Whether nobody serves there for now."""
    # gRPC says CANCELLED of a call that a server was given as it stopped; we end our own streams in another way.
    return isinstance(problem, Unreachable) and problem.reason in ("UNAVAILABLE", "CANCELLED", Reason.NOT_LEADER)


def _never_arrived(problem: RallypointError) -> bool:
    """Whether the call was certainly not carried out."""
    return isinstance(problem, NotLeading) or any(words in str(problem) for words in _NO_CONNECTION)
