"""What the gRPC ports of a coordinator answer while another one leads: that it stands by, and where the leader is."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from rallypoint.channel import server_options
from rallypoint.errors import Reason, abort


class _StandsBy(grpc.GenericRpcHandler):
    """Refuses every method there is. ``leader`` gives the address that the caller should use; empty when unknown."""

    def __init__(self, leader: Callable[[], str]) -> None:
        self._leader = leader

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any]:
        """One handler for all: a refusal needs no message of the caller."""
        handler: grpc.RpcMethodHandler[Any, Any] = grpc.stream_stream_rpc_method_handler(self._refuse)
        return handler

    async def _refuse(self, _: AsyncIterator[bytes], context: Any) -> None:
        address = self._leader()
        leads = f"the one at {address} leads" if address else "another one leads"
        message = f"this coordinator stands by, {leads}; try the next address"
        metadata = {"leader": address} if address else {}
        await abort(context, grpc.StatusCode.UNAVAILABLE, Reason.NOT_LEADER, message, metadata)


def standby_server(leader: Callable[[], str]) -> grpc.aio.Server:
    """A server that answers only health checks, with NOT_SERVING."""
    server = grpc.aio.server(options=server_options())
    servicer = health.aio.HealthServicer()
    servicer._server_status[""] = health_pb2.HealthCheckResponse.NOT_SERVING
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    server.add_generic_rpc_handlers((_StandsBy(leader),))
    return server
