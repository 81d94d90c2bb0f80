"""Joining, and every way in which it can fail: its words and its exit code."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest
from rallypoint.channel import agent_channel

from agent.facts import HostFacts
from agent.identity import Identity, load_identity, load_pems
from agent.join import JoinOrder, join
from agent.join_exit import JoinExit, JoinFailed
from coordinator.access.ca import Authority, load_or_create
from coordinator.access.tokens import TokenOrder, revoke
from tests.fakes import impostors
from tests.fakes.join_server import HOST_ID, JoinServer

pytestmark = pytest.mark.timeout(60)

DAY = 86_400.0


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return load_or_create(tmp_path_factory.mktemp("data") / "ca", time.time())


@pytest.fixture(scope="module")
def server(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[JoinServer]:
    with JoinServer(authority, tmp_path_factory.mktemp("server")) as running:
        yield running


def refused(order: JoinOrder, now: float | None = None) -> tuple[JoinExit, str]:
    """How joining failed; the message must be one line and must not show the token's secret."""
    with pytest.raises(JoinFailed) as failure:
        join(order, time.time() if now is None else now)
    message = str(failure.value)
    assert "\n" not in message
    if order.token.count(".") == 5:
        assert order.token.split(".")[4] not in message
    return failure.value.exit_code, message


def test_a_host_joins_and_is_known_on_the_agent_port(server: JoinServer, tmp_path: Path) -> None:
    facts = HostFacts(
        backend="rented", region="eu", price_per_hour=2.5, labels={"team": "a"}, instance_type="large", fleet="night"
    )
    order = JoinOrder(server.address, server.new_token(), tmp_path / "state", facts, name="node-1")
    identity = join(order, time.time())
    assert identity == load_identity(tmp_path / "state")
    assert (identity.host_id, identity.host_name) == (HOST_ID, "node-1")
    assert identity.coordinators == (f"127.0.0.1:{server.agent_port}",)
    assert server.requests[-1].facts.price_per_hour == 2.5
    assert server.requests[-1].facts.labels == {"team": "a"}
    assert asyncio.run(_who_am_i(identity)) == HOST_ID


async def _who_am_i(identity: Identity) -> str:
    async with agent_channel(identity.coordinators[0], **asdict(load_pems(identity))) as channel:
        return bytes(await channel.unary_unary("/test.Agents/Who")(b"", timeout=20)).decode()


def test_the_state_directory_is_closed_to_others(server: JoinServer, tmp_path: Path) -> None:
    join(JoinOrder(server.address, server.new_token(), tmp_path / "state"), time.time())
    modes = {path.name: path.stat().st_mode & 0o777 for path in [tmp_path / "state", *(tmp_path / "state").iterdir()]}
    assert modes == {"state": 0o700, "identity.json": 0o600, "credentials.pem": 0o600, "ca.pem": 0o600}


def test_expired(server: JoinServer, tmp_path: Path) -> None:
    token = server.new_token(TokenOrder(ttl=1e-6))
    code, message = refused(JoinOrder(server.address, token, tmp_path))
    assert code is JoinExit.TOKEN_EXPIRED
    assert "expired at" in message
    assert "coordinator token create" in message


def test_used_up(server: JoinServer, tmp_path: Path) -> None:
    token = server.new_token(TokenOrder(uses=1))
    join(JoinOrder(server.address, token, tmp_path / "first"), time.time())
    code, message = refused(JoinOrder(server.address, token, tmp_path / "second"))
    assert code is JoinExit.TOKEN_USED_UP
    assert "is used up: make a new one with 'coordinator token create', with --uses for several hosts" in message


def test_revoked(server: JoinServer, tmp_path: Path) -> None:
    token = server.new_token()
    token_id = token.split(".")[3]
    server.tokens[token_id] = revoke(server.tokens[token_id])
    code, message = refused(JoinOrder(server.address, token, tmp_path))
    assert code is JoinExit.TOKEN_REVOKED
    assert f"join token {token_id} was revoked" in message


def test_unknown(server: JoinServer, tmp_path: Path) -> None:
    token = server.new_token()
    del server.tokens[token.split(".")[3]]
    code, message = refused(JoinOrder(server.address, token, tmp_path))
    assert code is JoinExit.TOKEN_UNKNOWN
    assert "does not know that join token" in message


def damaged(token: str) -> list[str]:
    """Cut, mistyped, something else, nothing."""
    typo = "x" if token[30] != "x" else "y"
    return [token[:-4], token[:30] + typo + token[31:], "hello", ""]


def test_damaged(server: JoinServer, tmp_path: Path) -> None:
    seen = len(server.requests)
    for text in damaged(server.new_token()):
        code, message = refused(JoinOrder(server.address, text, tmp_path))
        assert code is JoinExit.TOKEN_DAMAGED
        assert "coordinator token create" in message
    assert len(server.requests) == seen


@pytest.mark.parametrize("off", [-DAY, DAY])
def test_clock_a_day_off_is_told_by_the_coordinator(server: JoinServer, tmp_path: Path, off: float) -> None:
    order = JoinOrder(server.address, server.new_token(), tmp_path)
    code, message = refused(order, time.time() + off)
    assert code is JoinExit.CLOCK_OFF
    assert "the host's clock says" in message
    assert "the coordinator's" in message
    assert join(order, time.time()).host_id == HOST_ID  # The token was not spent.


def test_clock_three_days_behind_is_seen_by_the_certificate(server: JoinServer, tmp_path: Path) -> None:
    seen = len(server.requests)
    code, message = refused(JoinOrder(server.address, server.new_token(), tmp_path), time.time() - 3 * DAY)
    assert code is JoinExit.CLOCK_OFF
    assert "this host's clock says" in message
    assert "is valid from" in message
    assert len(server.requests) == seen


def test_a_few_minutes_do_not_matter(server: JoinServer, tmp_path: Path) -> None:
    for minutes in (-4, 4):
        order = JoinOrder(server.address, server.new_token(), tmp_path / str(minutes))
        assert join(order, time.time() + 60 * minutes).host_id == HOST_ID


def test_joined_already(server: JoinServer, tmp_path: Path) -> None:
    join(JoinOrder(server.address, server.new_token(), tmp_path, name="node-1"), time.time())
    code, message = refused(JoinOrder(server.address, server.new_token(), tmp_path))
    assert code is JoinExit.ALREADY_JOINED
    assert "already is 'node-1'" in message
    forced = JoinOrder(server.address, server.new_token(), tmp_path, name="node-2", force=True)
    assert join(forced, time.time()).host_name == "node-2"


def test_state_directory_of_another_cluster(server: JoinServer, tmp_path: Path) -> None:
    join(JoinOrder(server.address, server.new_token(), tmp_path / "state"), time.time())
    other = load_or_create(tmp_path / "ca", time.time())
    with JoinServer(other, tmp_path) as elsewhere:
        order = JoinOrder(elsewhere.address, elsewhere.new_token(), tmp_path / "state", force=True)
        code, message = refused(order)
    assert code is JoinExit.WRONG_CLUSTER
    assert "belongs to a host of cluster" in message
    assert "--state-dir" in message


def test_state_directory_that_cannot_be_made(server: JoinServer, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    token = server.new_token()
    code, message = refused(JoinOrder(server.address, token, tmp_path / "file" / "state"))
    assert code is JoinExit.STATE_DIR
    assert "can't be written" in message
    assert server.tokens[token.split(".")[3]].uses_left == 1


def test_the_port_for_agents(server: JoinServer, tmp_path: Path) -> None:
    order = JoinOrder(f"127.0.0.1:{server.agent_port}", server.new_token(), tmp_path)
    code, message = refused(order)
    assert code is JoinExit.NOT_A_COORDINATOR
    way_out = "is the agents', not the API's: use the one that 'coordinator serve' prints"
    assert message == f"port {server.agent_port} of 127.0.0.1 {way_out}"


def test_the_port_of_the_web_page(server: JoinServer, authority: Authority, tmp_path: Path) -> None:
    pem = tmp_path / "server.pem"
    pair = authority.issue_server(["localhost"], time.time())
    pem.write_bytes(pair.key_pem + pair.chain_pem)
    heard: list[bytes] = []
    with impostors.answering(impostors.tls_with(pem, heard, protocols=())) as address:
        code, message = refused(JoinOrder(address, server.new_token(), tmp_path / "state"))
    assert code is JoinExit.NOT_A_COORDINATOR
    assert "is the web page's, not the API's: use the one that 'coordinator serve' prints" in message
    assert heard == []
