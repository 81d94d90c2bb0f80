"""Join tokens and users in memory, each change committed through the engine before it is told to anyone."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from coordinator.access import tokens, users
from coordinator.access.changes import TokenStored, UserRemoved, UserStored
from coordinator.access.roles import Role
from coordinator.core.errors import Conflict, NotFound
from coordinator.core.events import HostJoined
from coordinator.engine import Engine


class Accounts:
    """Who may join and who may call. ``pin`` and ``cluster_id`` go into every join token."""

    def __init__(
        self,
        engine: Engine,
        cluster_id: str,
        pin: str,
        known_tokens: Iterable[tokens.JoinToken],
        known_users: Iterable[users.User],
    ) -> None:
        self._engine = engine
        self._cluster_id = cluster_id
        self._pin = pin
        self._tokens = {token.id: token for token in known_tokens}
        self._users = {user.name: user for user in known_users}
        self._by_hash = {user.token_hash: user for user in self._users.values()}

    # ------------------------------------------------------------ join tokens

    async def create_token(self, order: tokens.TokenOrder, created_by: str) -> tokens.NewToken:
        """Make a join token. Raises InvalidTokenRequest."""
        new = tokens.create(order, cluster_id=self._cluster_id, pin=self._pin, created_by=created_by, now=time.time())
        await self._engine.commit(TokenStored(new.record))
        self._tokens[new.record.id] = new.record
        return new

    async def redeem(self, token_id: str, secret: str, joined: HostJoined) -> Any:
        """Use a token once and take the host in, in one transaction; the engine's answer. Raises AccessRefused."""
        before = self._tokens.get(token_id)
        used = tokens.redeem(before, secret, time.time())
        # Taken at once, before the commit: a second host must not slip in on the same last use.
        self._tokens[token_id] = used
        labelled = replace(joined, facts=replace(joined.facts, labels={**used.labels, **joined.facts.labels}))
        try:
            return await self._engine.post(labelled, TokenStored(used))
        except BaseException:
            current = self._tokens[token_id]
            if current.uses_left is not None:
                self._tokens[token_id] = replace(current, uses_left=current.uses_left + 1)
            raise

    async def revoke_token(self, token_id: str) -> None:
        """Accept the token no longer. Raises NotFound."""
        token = self._tokens.get(token_id)
        if token is None:
            raise NotFound(f"there is no join token {token_id!r}; 'coordinator token list' lists them")
        revoked = tokens.revoke(token)
        await self._engine.commit(TokenStored(revoked))
        self._tokens[token_id] = tokens.revoke(self._tokens[token_id])

    def list_tokens(self) -> list[tokens.JoinToken]:
        """Every token, newest first."""
        return sorted(self._tokens.values(), key=lambda token: -token.created_at)

    # ------------------------------------------------------------ users

    async def create_user(self, name: str, role: Role) -> users.NewUser:
        """Make a user. Raises InvalidUser, and Conflict when the name is taken."""
        if name in self._users:
            raise Conflict(f"there is a user {name!r} already; remove it first to give it a new token")
        new = users.create(name, role, time.time())
        await self._engine.commit(UserStored(new.record))
        self._users[name] = new.record
        self._by_hash[new.record.token_hash] = new.record
        return new

    async def replace_user(self, name: str, role: Role) -> users.NewUser:
        """Make a user or give an existing one a new token; its old one is accepted no longer."""
        known = self._users.pop(name, None)
        if known is not None:
            self._by_hash.pop(known.token_hash, None)
        return await self.create_user(name, role)

    async def remove_user(self, name: str) -> None:
        """Forget a user; its token is refused from then on. Raises NotFound, Conflict for the last admin."""
        user = self._users.get(name)
        if user is None:
            raise NotFound(f"there is no user {name!r}; 'coordinator user list' lists them")
        admins = [u for u in self._users.values() if u.role == Role.ADMIN]
        if admins == [user]:
            raise Conflict(f"{name!r} is the last admin: make another one first")
        await self._engine.commit(UserRemoved(name))
        self._users.pop(name, None)
        self._by_hash.pop(user.token_hash, None)

    def list_users(self) -> list[users.User]:
        """Every user, by name."""
        return sorted(self._users.values(), key=lambda user: user.name)

    def by_token_hash(self, token_hash: str) -> users.User | None:
        """The user whose token has this hash."""
        return self._by_hash.get(token_hash)
