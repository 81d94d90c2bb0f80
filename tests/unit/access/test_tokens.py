"""Join tokens, join claims and users: pure rules."""

from __future__ import annotations

from dataclasses import replace

import pytest
from rallypoint.token import parse_token
from rallypoint.version import PROTOCOL_VERSION

from coordinator.access import errors, tokens, users
from coordinator.access.admission import JoinClaim, check_claim
from coordinator.access.roles import Role
from coordinator.access.tokens import JoinToken, NewToken, TokenOrder

NOW = 1_800_000_000.0
CLUSTER = "c0ffee12"


def new_token(order: TokenOrder | None = None) -> NewToken:
    return tokens.create(order or TokenOrder(), cluster_id=CLUSTER, pin="p" * 43, created_by="ann", now=NOW)


def secret_of(token: NewToken) -> str:
    return parse_token(token.text).secret


def test_a_record_holds_no_secret() -> None:
    token = new_token(TokenOrder(ttl=60, uses=3, labels={"team": "a"}))
    assert parse_token(token.text).token_id == token.record.id
    assert secret_of(token) not in repr(token)
    assert token.record.expires_at == NOW + 60
    assert (token.record.labels, token.record.created_by) == ({"team": "a"}, "ann")


def test_uses_are_counted() -> None:
    token = new_token(TokenOrder(uses=2))
    once = tokens.redeem(token.record, secret_of(token), NOW)
    twice = tokens.redeem(once, secret_of(token), NOW)
    assert (once.uses_left, twice.uses_left) == (1, 0)
    with pytest.raises(errors.TokenUsedUp, match="is used up"):
        tokens.redeem(twice, secret_of(token), NOW)


def test_no_limit_of_uses() -> None:
    token = new_token(TokenOrder(uses=None))
    assert tokens.redeem(token.record, secret_of(token), NOW) == token.record


def test_expiry_is_exact_and_names_both_times() -> None:
    token = new_token(TokenOrder(ttl=60))
    tokens.redeem(token.record, secret_of(token), NOW + 59.9)
    with pytest.raises(errors.TokenExpired, match=r"expired at 2027-01-15T08:01:00Z \(now 2027-01-15T08:01:00Z\)"):
        tokens.redeem(token.record, secret_of(token), NOW + 60)


def unusable(token: JoinToken) -> list[JoinToken]:
    return [token, tokens.revoke(token), replace(token, expires_at=NOW), replace(token, uses_left=0)]


def test_a_wrong_secret_learns_nothing_of_the_token() -> None:
    for record in [None, *unusable(new_token().record)]:
        with pytest.raises(errors.TokenUnknown):
            tokens.redeem(record, "guess", NOW)


def test_revoked_comes_before_expired() -> None:
    token = new_token()
    with pytest.raises(errors.TokenRevoked, match=f"join token {token.record.id} was revoked"):
        tokens.redeem(tokens.revoke(token.record), secret_of(token), NOW + 10**6)


@pytest.mark.parametrize(
    "order",
    [
        TokenOrder(ttl=0),
        TokenOrder(ttl=-1),
        TokenOrder(ttl=float("nan")),
        TokenOrder(ttl=float("inf")),
        TokenOrder(uses=0),
        TokenOrder(labels={"": "x"}),
        TokenOrder(labels={"k": "line\nbreak"}),
    ],
)
def test_orders_that_make_no_sense(order: TokenOrder) -> None:
    with pytest.raises(errors.InvalidTokenRequest):
        new_token(order)


def claim(token: str, host_time: float = NOW, version: str = PROTOCOL_VERSION) -> JoinClaim:
    return JoinClaim(token, host_time, version)


def test_claims() -> None:
    text = new_token().text
    assert check_claim(claim(text, NOW + 299), CLUSTER, NOW) == parse_token(text)
    with pytest.raises(errors.WrongCluster, match="for cluster c0ffee12, but this coordinator is cluster other"):
        check_claim(claim(text), "other", NOW)
    with pytest.raises(errors.TokenNotReadable, match="damaged"):
        check_claim(claim(text[:-1]), CLUSTER, NOW)
    with pytest.raises(errors.ProtocolTooDifferent, match=r"speaks protocol 9\.0, the coordinator"):
        check_claim(claim(text, version="9.0"), CLUSTER, NOW)


@pytest.mark.parametrize("host_time", [NOW + 301, NOW - 301, 0.0, 1e300, float("nan")])
def test_clocks(host_time: float) -> None:
    with pytest.raises(
        errors.ClockOff, match=r"the host's clock says .*, the coordinator's 2027-01-15T08:00:00Z"
    ) as off:
        check_claim(claim(new_token().text, host_time), CLUSTER, NOW)
    assert off.value.metadata["coordinator_time"] == "2027-01-15T08:00:00Z"


def test_users_are_found_by_the_hash_of_their_token() -> None:
    new = users.create("ann@example", Role.ADMIN, NOW)
    assert new.token not in repr(new)
    assert users.token_hash_of([("authorization", f"Bearer {new.token}")]) == new.record.token_hash
    assert users.known(new.record) is new.record


@pytest.mark.parametrize("metadata", [[], [("authorization", "Basic eA==")], [("authorization", "Bearer rp1.x")]])
def test_calls_without_a_user_token(metadata: list[tuple[str, str]]) -> None:
    with pytest.raises(errors.Unauthenticated):
        users.token_hash_of(metadata)


def test_unknown_users_and_bad_names() -> None:
    with pytest.raises(errors.Unauthenticated, match="does not know that user token"):
        users.known(None)
    for name in ["", "Ann", "-a", "a b", "a" * 64]:
        with pytest.raises(errors.InvalidUser, match="can't be a user's name"):
            users.create(name, Role.USER, NOW)
