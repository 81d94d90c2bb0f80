"""A real gRPC server that answers ``Join`` by the coordinator's own access rules, with records in memory."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from rallypoint.tls import prepare_grpc

prepare_grpc()

import grpc  # noqa: E402
import grpc.aio  # noqa: E402
from rallypoint.channel import server_options  # noqa: E402
from rallypoint.errors import abort  # noqa: E402
from rallypoint.v1 import access_service_pb2 as pb  # noqa: E402
from rallypoint.v1 import access_service_pb2_grpc as pb_grpc  # noqa: E402

from coordinator.access import tokens  # noqa: E402
from coordinator.access.admission import JoinClaim, check_claim  # noqa: E402
from coordinator.access.ca import Authority  # noqa: E402
from coordinator.access.errors import AccessRefused  # noqa: E402
from coordinator.access.server_identity import ServerIdentity, server_names  # noqa: E402
from coordinator.access.server_tls import agent_credentials, api_credentials, calling_host  # noqa: E402

HOST_ID = "h-1"


class JoinServer(pb_grpc.AccessServiceServicer):
    """``with JoinServer(authority, directory) as server``: an API port and an agent port on loopback."""

    def __init__(self, authority: Authority, directory: Path, clock: Callable[[], float] = time.time) -> None:
        self.authority = authority
        self.clock = clock
        self.tokens: dict[str, tokens.JoinToken] = {}
        self.requests: list[pb.JoinRequest] = []
        self.taken: set[str] = set()
        self.port = 0
        self.agent_port = 0
        self._identity = ServerIdentity(authority, directory, server_names())
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))

    @property
    def address(self) -> str:
        """Of the API port."""
        return f"127.0.0.1:{self.port}"

    def new_token(self, order: tokens.TokenOrder | None = None) -> str:
        """Make a join token and keep its record; the text."""
        authority = self.authority
        made = tokens.create(
            order or tokens.TokenOrder(),
            cluster_id=authority.cluster_id,
            pin=authority.pin,
            created_by="test",
            now=self.clock(),
        )
        self.tokens[made.record.id] = made.record
        return made.text

    async def Join(self, request: pb.JoinRequest, context: grpc.aio.ServicerContext) -> pb.JoinResponse:
        self.requests.append(request)
        try:
            return self._join(request)
        except AccessRefused as refused:
            await abort(context, grpc.StatusCode[refused.code], refused.reason, str(refused), refused.metadata)

    def _join(self, request: pb.JoinRequest) -> pb.JoinResponse:
        now = self.clock()
        claim = JoinClaim(request.token, request.host_time, request.protocol_version)
        text = check_claim(claim, self.authority.cluster_id, now)
        used = tokens.redeem(self.tokens.get(text.token_id), text.secret, now)
        certificate = self.authority.sign_host_csr(request.csr_pem, HOST_ID, request.name, now)
        self.tokens[used.id] = used
        return pb.JoinResponse(
            host_id=HOST_ID,
            host_name=f"{request.name}-2" if request.name in self.taken else request.name,
            cluster_id=self.authority.cluster_id,
            certificate_pem=certificate,
            ca_pem=self.authority.certificate_pem,
            agent_port=self.agent_port,
        )

    async def _who(self, request: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        return calling_host(context.auth_context(), self.authority.cluster_id).host_id.encode()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        server = grpc.aio.server(options=server_options())
        pb_grpc.add_AccessServiceServicer_to_server(self, server)
        self.port = server.add_secure_port("127.0.0.1:0", api_credentials(self._identity, self.clock))
        agents = grpc.aio.server(options=server_options())
        who = {"Who": grpc.unary_unary_rpc_method_handler(self._who)}
        agents.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Agents", who),))
        credentials = agent_credentials(self._identity, self.clock, self.authority.certificate_pem)
        self.agent_port = agents.add_secure_port("127.0.0.1:0", credentials)
        await server.start()
        await agents.start()
        self._ready.set()
        await self._stop.wait()
        await server.stop(0)
        await agents.stop(0)

    def __enter__(self) -> JoinServer:
        self._thread.start()
        assert self._ready.wait(20)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(20)
