"""Calls and streams that outlast a coordinator that is away: a restart or an upgrade costs time, and nothing else."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from rallypoint.tls import prepare_grpc

prepare_grpc()  # must come before grpc is imported

import grpc  # noqa: E402
from rallypoint.v1 import job_service_pb2 as job_pb  # noqa: E402

from coordinator.failures import Unreachable, failure  # noqa: E402
from coordinator.lines import Line, Lines, is_away  # noqa: E402

STREAM_SECONDS = 60.0
"""How long a stream that once worked is opened again while the coordinator is away."""

# A stream that fails later than this was connected: an unreachable address fails sooner, or was told so.
_CONNECTED_SECONDS = 2.0
# So long a call that was cut off is repeated when no coordinator was ever reached, and when one was.
_FIRST_SECONDS, _CALL_SECONDS = 3.0, 60.0

A = TypeVar("A")


def repeatedly(lines: Lines, call: Callable[[bool], A]) -> A:
    """The answer of a call that may be made more than once; it is told whether it has been. Raises RallypointError."""
    began, tries = time.monotonic(), 0
    while True:
        try:
            return call(tries > 0)
        except Unreachable:
            if time.monotonic() - began > (_CALL_SECONDS if lines.reached else _FIRST_SECONDS):
                raise
        tries += 1
        time.sleep(min(1.0, 0.1 * 2**tries))


def stream(lines: Lines, call: Callable[[Line], Iterable[A]], on_away: Callable[[], None] | None = None) -> Iterator[A]:
    """Messages of a stream that is opened again when the coordinator goes away, for ``STREAM_SECONDS``.

    ``on_away`` is called when that begins. Raises RallypointError.
    """
    away_since: float | None = None
    while True:
        began, answered = time.monotonic(), False
        try:
            for message in call(lines.line()):
                answered = lines.reached = True
                away_since = None
                yield message
            return
        except grpc.RpcError as error:
            now, problem = time.monotonic(), failure(error, lines.address)
            if answered or now - began > _CONNECTED_SECONDS:
                # It was connected, even if there was nothing to say.
                away_since = None
            if away_since is None:
                away_since = now
                if on_away is not None and lines.reached and is_away(problem):
                    on_away()
            if not is_away(problem) or not lines.hopeful() or now - away_since > STREAM_SECONDS:
                raise problem from None
            lines.turn()
        time.sleep(0.5)


def each_byte_once(pieces: Iterable[job_pb.TailLogsResponse]) -> Iterator[job_pb.TailLogsResponse]:
    """Pieces of output without what was sent again after a reconnect."""
    seen: dict[tuple[int, int], int] = {}
    for piece in pieces:
        have = seen.get((piece.rank, piece.attempt), 0)
        end = piece.offset + len(piece.data)
        if end <= have:
            continue
        # Of a gap, too, only what was not told: it may have grown meanwhile.
        piece.dropped_bytes = max(0, min(piece.dropped_bytes, piece.offset - have))
        if piece.offset < have:
            piece.data, piece.offset = piece.data[have - piece.offset :], have
        seen[piece.rank, piece.attempt] = end
        yield piece
