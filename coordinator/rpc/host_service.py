"""HostService: what users see of hosts and do with them."""

from __future__ import annotations

from typing import Any

from rallypoint.v1 import host_service_pb2 as pb
from rallypoint.v1 import host_service_pb2_grpc as pb_grpc
from rallypoint.v1 import types_pb2

from coordinator import snapshots
from coordinator.core.errors import Invalid
from coordinator.core.events import CordonRequested, DrainRequested, RemovalRequested
from coordinator.core.sessions import find_host
from coordinator.core.state import State
from coordinator.engine import Engine
from coordinator.rpc.convert import host_to_proto, network_to_proto
from coordinator.rpc.identity import calling_user
from coordinator.views import HostView

# A year: whoever means to drain a host ever has forgotten it by then.
MAX_DRAIN_SECONDS = 366 * 86400.0


class HostService(pb_grpc.HostServiceServicer):
    """What users call about hosts."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def ListHosts(self, request: pb.ListHostsRequest, context: Any) -> pb.ListHostsResponse:
        """Every host and every network."""
        hosts, networks = await self._engine.read(lambda state: (snapshots.hosts(state), snapshots.networks(state)))
        return pb.ListHostsResponse(
            hosts=[host_to_proto(view) for view in hosts], networks=[network_to_proto(view) for view in networks]
        )

    async def GetHost(self, request: pb.GetHostRequest, context: Any) -> pb.GetHostResponse:
        """One host by id or name."""
        return pb.GetHostResponse(host=await self._host(request.host))

    async def CordonHost(self, request: pb.CordonHostRequest, context: Any) -> pb.CordonHostResponse:
        """Let no new work in."""
        await self._engine.post(CordonRequested(request.host, cordoned=True))
        return pb.CordonHostResponse(host=await self._host(request.host))

    async def DrainHost(self, request: pb.DrainHostRequest, context: Any) -> pb.DrainHostResponse:
        """Let no new work in, and have what runs go."""
        if not 0.0 <= request.after_seconds <= MAX_DRAIN_SECONDS:
            raise Invalid(f"a drain may take 0 to {MAX_DRAIN_SECONDS:.0f} seconds, not {request.after_seconds:g}")
        await self._engine.post(DrainRequested(request.host, request.after_seconds))
        return pb.DrainHostResponse(host=await self._host(request.host))

    async def ResumeHost(self, request: pb.ResumeHostRequest, context: Any) -> pb.ResumeHostResponse:
        """Let work in again."""
        await self._engine.post(CordonRequested(request.host, cordoned=False))
        return pb.ResumeHostResponse(host=await self._host(request.host))

    async def RemoveHost(self, request: pb.RemoveHostRequest, context: Any) -> pb.RemoveHostResponse:
        """Forget a host that holds nothing, or that is gone for good with what it held."""
        await self._engine.post(RemovalRequested(request.host, request.gone, calling_user().name))
        return pb.RemoveHostResponse()

    async def _host(self, ref: str) -> types_pb2.Host:
        def look(state: State) -> HostView:
            wanted = find_host(state, ref).id
            return next(view for view in snapshots.hosts(state) if view.host.id == wanted)

        return host_to_proto(await self._engine.read(look))
