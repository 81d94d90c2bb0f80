"""Who calls, and whether they may: a check around every method, whichever service it belongs to."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, NoReturn

import grpc
import grpc.aio
from rallypoint.tls import PeerIdentity

from coordinator.access import roles, users
from coordinator.access.server_tls import calling_host
from coordinator.accounts import Accounts
from coordinator.core.ids import HostId
from coordinator.rpc import skew
from coordinator.rpc.errors import NotLeading, refuse


@dataclass(frozen=True, slots=True)
class Caller:
    """The checked identity behind a call: a user, a host, or (for Join alone) neither."""

    user: users.User | None = None
    host: PeerIdentity | None = None


_caller: ContextVar[Caller] = ContextVar("caller")


def calling_user() -> users.User:
    """The user behind the current call; only in methods whose rule is a role."""
    user = _caller.get().user
    assert user is not None, "this method's rule is not a role"
    return user


def calling_host_id() -> HostId:
    """The host behind the current call; only in methods whose rule is By.HOST."""
    host = _caller.get().host
    assert host is not None, "this method's rule is not By.HOST"
    return HostId(host.host_id)


class IdentityInterceptor(grpc.aio.ServerInterceptor):
    """Checks the caller of every method against its rule before the method runs, and maps errors after."""

    def __init__(self, accounts: Accounts, cluster_id: str, leads: Callable[[], bool] = lambda: True) -> None:
        self._accounts = accounts
        self._cluster_id = cluster_id
        self._leads = leads

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None:
            # A method of our other port is left to gRPC, which says that it is not here.
            return _unknown(method) if skew.is_unknown(method) else None
        if handler.response_streaming:
            wrapped = self._around_stream(method, handler.unary_stream or handler.stream_stream)
        else:
            wrapped = self._around_unary(method, handler.unary_unary or handler.stream_unary)
        make = {
            (False, False): grpc.unary_unary_rpc_method_handler,
            (False, True): grpc.unary_stream_rpc_method_handler,
            (True, False): grpc.stream_unary_rpc_method_handler,
            (True, True): grpc.stream_stream_rpc_method_handler,
        }[(bool(handler.request_streaming), bool(handler.response_streaming))]
        rewrapped: grpc.RpcMethodHandler[Any, Any] = make(
            wrapped, handler.request_deserializer, handler.response_serializer
        )
        return rewrapped

    def _identify(self, method: str, context: Any) -> Caller:
        if not self._leads():
            # Whoever leads instead may be telling hosts otherwise; above all no lease may be renewed here.
            raise NotLeading("this coordinator can't reach its database, so that another one may lead; try again")
        rule = roles.rule_of(method)
        if rule is roles.By.HOST:
            host = calling_host(context.auth_context(), self._cluster_id)
            roles.authorize_host(method, host.host_id)
            return Caller(host=host)
        if rule is roles.By.JOIN_TOKEN:
            return Caller()
        user = users.known(self._accounts.by_token_hash(users.token_hash_of(context.invocation_metadata() or ())))
        roles.authorize_user(method, user.name, user.role)
        return Caller(user=user)

    def _around_unary(self, method: str, behaviour: Any) -> Any:
        async def call(request: Any, context: Any) -> Any:
            try:
                _caller.set(self._identify(method, context))
                return await behaviour(request, context)
            except Exception as error:
                if isinstance(error, grpc.aio.AbortError):
                    raise
                await refuse(context, error)

        return call

    def _around_stream(self, method: str, behaviour: Any) -> Any:
        async def call(request: Any, context: Any) -> AsyncIterator[Any]:
            try:
                _caller.set(self._identify(method, context))
                async for response in behaviour(request, context):
                    yield response
            except Exception as error:
                if isinstance(error, grpc.aio.AbortError):
                    raise
                await refuse(context, error)

        return call


def _unknown(method: str) -> grpc.RpcMethodHandler[Any, Any]:
    async def call(request: bytes, context: Any) -> NoReturn:
        await refuse(context, skew.unknown_method(method, context.invocation_metadata() or ()))

    handler: grpc.RpcMethodHandler[Any, Any] = grpc.unary_unary_rpc_method_handler(call)
    return handler
