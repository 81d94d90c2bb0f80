"""HostService: what users see of hosts and do with them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any

from rallypoint.v1 import host_service_pb2 as pb
from rallypoint.v1 import host_service_pb2_grpc as pb_grpc
from rallypoint.v1 import types_pb2
from rallypoint.version import __version__

from coordinator import snapshots
from coordinator.core.errors import Conflict
from coordinator.core.events import (
    CordonRequested,
    DrainRequested,
    QuarantineRequested,
    ReleaseRequested,
    RemovalRequested,
    TestRequested,
    UpgradeCancelRequested,
)
from coordinator.core.sessions import find_host
from coordinator.core.state import State
from coordinator.engine import Engine
from coordinator.own_wheel import OwnWheel
from coordinator.rpc import events, upgrades
from coordinator.rpc.convert import host_to_proto, network_to_proto
from coordinator.rpc.health import MAX_DETAIL
from coordinator.rpc.identity import calling_user
from coordinator.rpc.limits import check_drain_seconds
from coordinator.views import HostView


class HostService(pb_grpc.HostServiceServicer):
    """What users call about hosts."""

    def __init__(self, engine: Engine, wheel: Callable[[], Awaitable[OwnWheel]]) -> None:
        """``wheel`` is what hosts are upgraded to; it raises Conflict when there is none."""
        self._engine = engine
        self._wheel = wheel

    async def ListHosts(self, request: pb.ListHostsRequest, context: Any) -> pb.ListHostsResponse:
        """Every host and every network."""
        hosts, networks = await self._engine.read(lambda state: (snapshots.hosts(state), snapshots.networks(state)))
        return pb.ListHostsResponse(
            hosts=[host_to_proto(view) for view in hosts],
            networks=[network_to_proto(view) for view in networks],
            coordinator_version=__version__,
            coordinator_build=await self._build(hosts),
        )

    async def _build(self, hosts: Sequence[HostView]) -> str:
        """This coordinator as hosts that were installed would be it; where none was, it is not worked out."""
        if not any(view.host.build for view in hosts):
            return ""
        with suppress(Conflict):
            return (await self._wheel()).release.build
        return ""

    async def GetHost(self, request: pb.GetHostRequest, context: Any) -> pb.GetHostResponse:
        """One host by id or name."""
        return pb.GetHostResponse(host=await self._host(request.host))

    async def CordonHost(self, request: pb.CordonHostRequest, context: Any) -> pb.CordonHostResponse:
        """Let no new work in."""
        await self._engine.post(CordonRequested(request.host, cordoned=True))
        return pb.CordonHostResponse(host=await self._host(request.host))

    async def DrainHost(self, request: pb.DrainHostRequest, context: Any) -> pb.DrainHostResponse:
        """Let no new work in, and have what runs go."""
        check_drain_seconds(request.after_seconds)
        await self._engine.post(DrainRequested(request.host, request.after_seconds))
        return pb.DrainHostResponse(host=await self._host(request.host))

    async def ResumeHost(self, request: pb.ResumeHostRequest, context: Any) -> pb.ResumeHostResponse:
        """Let work in again."""
        await self._engine.post(CordonRequested(request.host, cordoned=False))
        return pb.ResumeHostResponse(host=await self._host(request.host))

    async def QuarantineGpu(self, request: pb.QuarantineGpuRequest, context: Any) -> pb.QuarantineGpuResponse:
        """Take a GPU out of service."""
        user = calling_user().name
        await self._engine.post(QuarantineRequested(request.host, request.gpu, request.reason[:MAX_DETAIL], user))
        return pb.QuarantineGpuResponse(host=await self._host(request.host))

    async def ReleaseGpus(self, request: pb.ReleaseGpusRequest, context: Any) -> pb.ReleaseGpusResponse:
        """Vouch for a GPU, or for all of a host."""
        await self._engine.post(ReleaseRequested(request.host, request.gpu, calling_user().name))
        return pb.ReleaseGpusResponse(host=await self._host(request.host))

    async def TestGpus(self, request: pb.TestGpusRequest, context: Any) -> pb.TestGpusResponse:
        """Have GPUs tested."""
        await self._engine.post(TestRequested(request.host, request.gpu, calling_user().name))
        return pb.TestGpusResponse(host=await self._host(request.host))

    async def ListEvents(self, request: pb.ListEventsRequest, context: Any) -> AsyncIterator[pb.ListEventsResponse]:
        """What happened to hosts."""
        async for answer in events.listed(self._engine, request):
            yield answer

    async def RemoveHost(self, request: pb.RemoveHostRequest, context: Any) -> pb.RemoveHostResponse:
        """Forget a host that holds nothing, or that is gone for good with what it held."""
        await self._engine.post(RemovalRequested(request.host, request.gone, calling_user().name))
        return pb.RemoveHostResponse()

    async def StartUpgrade(self, request: pb.StartUpgradeRequest, context: Any) -> pb.StartUpgradeResponse:
        """Begin to upgrade hosts, some at a time."""
        await self._engine.post(upgrades.requested(request, await self._wheel(), calling_user().name))
        return pb.StartUpgradeResponse(upgrade=await self._engine.read(upgrades.last_upgrade))

    async def GetUpgrade(self, request: pb.GetUpgradeRequest, context: Any) -> pb.GetUpgradeResponse:
        """The last upgrade."""
        return pb.GetUpgradeResponse(upgrade=await self._engine.read(upgrades.last_upgrade))

    async def CancelUpgrade(self, request: pb.CancelUpgradeRequest, context: Any) -> pb.CancelUpgradeResponse:
        """Begin no further host."""
        await self._engine.post(UpgradeCancelRequested(calling_user().name))
        return pb.CancelUpgradeResponse(upgrade=await self._engine.read(upgrades.last_upgrade))

    async def WatchUpgrade(
        self, request: pb.WatchUpgradeRequest, context: Any
    ) -> AsyncIterator[pb.WatchUpgradeResponse]:
        """The last upgrade, and what becomes of it."""
        async for upgrade in upgrades.watch(self._engine):
            yield pb.WatchUpgradeResponse(upgrade=upgrade)

    async def _host(self, ref: str) -> types_pb2.Host:
        def look(state: State) -> HostView:
            wanted = find_host(state, ref).id
            return next(view for view in snapshots.hosts(state) if view.host.id == wanted)

        return host_to_proto(await self._engine.read(look))
