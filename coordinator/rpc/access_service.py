"""AccessService: joining, join tokens and users."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from rallypoint.v1 import access_service_pb2 as pb
from rallypoint.v1 import access_service_pb2_grpc as pb_grpc
from rallypoint.version import __version__

from coordinator.access.admission import JoinClaim, check_claim
from coordinator.access.ca import Authority
from coordinator.access.certificates import public_key_of_csr
from coordinator.access.errors import InvalidUser
from coordinator.access.roles import Role
from coordinator.access.tokens import TokenOrder
from coordinator.accounts import Accounts
from coordinator.core.errors import Invalid
from coordinator.core.events import HostJoined
from coordinator.core.model import Host
from coordinator.rpc.convert import facts_from_proto, token_to_proto, user_to_proto
from coordinator.rpc.identity import calling_user

log = structlog.get_logger(__name__)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


@dataclass(slots=True)
class AccessParts:
    """What the service works with. ``agent_port`` is set once the agent port is bound; life in seconds.

    ``coordinators`` are the addresses for agents where there are several coordinators; ``install_line`` gives what to
    paste on a host, empty where the installer is off.
    """

    accounts: Accounts
    authority: Authority
    certificate_life: float
    coordinators: Callable[[], Sequence[str]] = tuple
    agent_port: int = 0
    install_line: Callable[[], str] = str


class AccessService(pb_grpc.AccessServiceServicer):
    """Joining, tokens and users."""

    def __init__(self, parts: AccessParts) -> None:
        self._parts = parts

    async def Join(self, request: pb.JoinRequest, context: Any) -> pb.JoinResponse:
        """Make a host a member. The token is used only when everything else is right."""
        authority = self._parts.authority
        claim = JoinClaim(request.token, request.host_time, request.protocol_version)
        token = check_claim(claim, authority.cluster_id, time.time())
        public_key_of_csr(request.csr_pem)
        name = request.name or "host"
        if not _NAME.fullmatch(name):
            allowed = "up to 63 letters, digits, '.', '_', '-', beginning with a letter or digit"
            raise Invalid(f"{name!r} can't be a host's name: use {allowed} (agent join --name)")
        joined = HostJoined(name, facts_from_proto(request.facts), request.machine_id)
        host: Host = await self._parts.accounts.redeem(token.token_id, token.secret, joined)
        life = self._parts.certificate_life
        certificate = authority.sign_host_csr(request.csr_pem, host.id, host.name, time.time(), life)
        log.info("host.joined", host=host.name, id=host.id, token=token.token_id, peer=context.peer())
        return pb.JoinResponse(
            host_id=host.id,
            host_name=host.name,
            cluster_id=authority.cluster_id,
            certificate_pem=certificate,
            ca_pem=authority.certificate_pem,
            agent_port=self._parts.agent_port,
            coordinators=self._parts.coordinators(),
        )

    async def CreateToken(self, request: pb.CreateTokenRequest, context: Any) -> pb.CreateTokenResponse:
        """A join token; its text is told this once."""
        order = TokenOrder(request.ttl_seconds, request.uses or None, dict(request.labels))
        new = await self._parts.accounts.create_token(order, calling_user().name)
        line = self._parts.install_line()
        return pb.CreateTokenResponse(token=new.text, info=token_to_proto(new.record), install_line=line)

    async def ListTokens(self, request: pb.ListTokensRequest, context: Any) -> pb.ListTokensResponse:
        """Every join token, without its secret."""
        return pb.ListTokensResponse(tokens=[token_to_proto(token) for token in self._parts.accounts.list_tokens()])

    async def RevokeToken(self, request: pb.RevokeTokenRequest, context: Any) -> pb.RevokeTokenResponse:
        """Accept a join token no longer."""
        await self._parts.accounts.revoke_token(request.id)
        return pb.RevokeTokenResponse()

    async def CreateUser(self, request: pb.CreateUserRequest, context: Any) -> pb.CreateUserResponse:
        """A user; the token is told this once."""
        if request.role == pb.ROLE_UNSPECIFIED or request.role not in pb.Role.values():
            raise InvalidUser("a user needs a role: viewer, user or admin")
        role = Role(pb.Role.Name(request.role).removeprefix("ROLE_").lower())
        new = await self._parts.accounts.create_user(request.name, role)
        return pb.CreateUserResponse(user=user_to_proto(new.record), token=new.token)

    async def ListUsers(self, request: pb.ListUsersRequest, context: Any) -> pb.ListUsersResponse:
        """Every user."""
        return pb.ListUsersResponse(users=[user_to_proto(user) for user in self._parts.accounts.list_users()])

    async def RemoveUser(self, request: pb.RemoveUserRequest, context: Any) -> pb.RemoveUserResponse:
        """Forget a user."""
        await self._parts.accounts.remove_user(request.name)
        return pb.RemoveUserResponse()

    async def WhoAmI(self, request: pb.WhoAmIRequest, context: Any) -> pb.WhoAmIResponse:
        """The caller, the cluster and the coordinator's version."""
        return pb.WhoAmIResponse(
            user=user_to_proto(calling_user()),
            cluster_id=self._parts.authority.cluster_id,
            coordinator_version=__version__,
        )
