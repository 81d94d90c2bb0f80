"""Joining a cluster: check the coordinator by the token's pin, get a certificate for a key made here, write it down."""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from rallypoint.address import Address, BadAddress, parse_address
from rallypoint.errors import Reason
from rallypoint.files import readable_by_others
from rallypoint.token import TokenDamaged, TokenText, parse_token
from rallypoint.version import PROTOCOL_VERSION

from agent.facts import HostFacts
from agent.identity import Identity, IdentityDamaged, NotJoined, Pems, load_identity, save
from agent.join_exit import TOKEN_VARIABLE, JoinExit, JoinFailed
from agent.statedir import StateDirUnsafe, check_state_dir, check_token_owner, make_state_dir

if TYPE_CHECKING:
    import grpc
    from rallypoint.v1 import access_service_pb2 as pb
    from rallypoint.v1 import types_pb2

_MAX_TOKEN = 4096

_EXITS: Mapping[str, JoinExit] = {
    Reason.TOKEN_DAMAGED: JoinExit.TOKEN_DAMAGED,
    Reason.TOKEN_EXPIRED: JoinExit.TOKEN_EXPIRED,
    Reason.TOKEN_USED_UP: JoinExit.TOKEN_USED_UP,
    Reason.TOKEN_REVOKED: JoinExit.TOKEN_REVOKED,
    Reason.TOKEN_UNKNOWN: JoinExit.TOKEN_UNKNOWN,
    Reason.WRONG_CLUSTER: JoinExit.WRONG_CLUSTER,
    Reason.CLOCK_OFF: JoinExit.CLOCK_OFF,
    Reason.PROTOCOL_VERSION: JoinExit.VERSION,
}

_NOT_THERE = (JoinExit.UNREACHABLE, JoinExit.NAME_UNKNOWN)


class _Elsewhere(JoinFailed):
    """Of several coordinators another one may lead."""


@dataclass(frozen=True, slots=True)
class JoinOrder:
    """What ``agent join`` was asked to do.

    ``address`` may be several, with commas, one of which leads. ``timeout`` in seconds for the check of a coordinator,
    and again for the request; ``force`` joins anew although the state directory holds a valid identity.
    """

    address: str
    token: str = field(repr=False)
    state_dir: Path
    facts: HostFacts = field(default_factory=HostFacts)
    name: str = ""
    force: bool = False
    timeout: float = 15.0

    @property
    def asked_name(self) -> str:
        """What the host would be called."""
        return self.name or socket.gethostname()


def read_token(file: str | None, environ: Mapping[str, str]) -> str:
    """The token's text from a file (``-``: standard input), else from ``RALLYPOINT_JOIN_TOKEN``.

    Raises ``JoinFailed`` when there is none, or when other users may read the file.
    """
    if file == "-":
        return sys.stdin.read(_MAX_TOKEN)
    if file:
        return _read_token_file(Path(file))
    if environ.get(TOKEN_VARIABLE):
        return environ[TOKEN_VARIABLE]
    way_out = f"give --token-file F ('-' for standard input) or set {TOKEN_VARIABLE}"
    raise JoinFailed(JoinExit.TOKEN_UNREADABLE, f"no join token was given: {way_out}")


def _read_token_file(path: Path) -> str:
    try:
        if readable_by_others(path):
            message = f"token file {path} may be read by other users: run 'chmod 600 {path}'"
            raise JoinFailed(JoinExit.TOKEN_UNREADABLE, message)
        check_token_owner(path)
        with path.open(encoding="utf-8", errors="replace") as file:
            return file.read(_MAX_TOKEN)
    except StateDirUnsafe as error:
        raise JoinFailed(JoinExit.TOKEN_UNREADABLE, str(error)) from None
    except OSError as error:
        message = f"token file {path} can't be read ({error.strerror}): give the right one with --token-file"
        raise JoinFailed(JoinExit.TOKEN_UNREADABLE, message) from None


def join(order: JoinOrder, now: float) -> Identity:
    """Join and write the identity to the state directory. ``now`` in Unix seconds. Raises ``JoinFailed``."""
    addresses = [_address(part.strip()) for part in order.address.split(",")]
    token = _parse(order.token)
    made = [each for each in (order.state_dir, *order.state_dir.parents) if not os.path.lexists(each)]
    _check_state_dir(order, token, now)
    try:
        return _join_anywhere(addresses, order, token, now)
    except BaseException:
        for each in made:
            # Not one in which something is by now.
            with contextlib.suppress(OSError):
                each.rmdir()
        raise


def _join_anywhere(addresses: list[Address], order: JoinOrder, token: TokenText, now: float) -> Identity:
    for address in addresses[:-1]:
        try:
            return _join_at(address, order, token, now)
        except _Elsewhere:
            continue
    return _join_at(addresses[-1], order, token, now)


def _join_at(address: Address, order: JoinOrder, token: TokenText, now: float) -> Identity:
    """Raises ``_Elsewhere`` when it is certain that no use of the token was spent, and another address may serve."""
    # Heavy, and not needed for the refusals before.
    from agent.credentials import make_key_and_csr
    from agent.greeting import trusted_ca

    try:
        ca_pem = trusted_ca(address, token, now, order.timeout)
    except JoinFailed as error:
        if error.exit_code in _NOT_THERE:
            raise _Elsewhere(error.exit_code, str(error)) from None
        raise
    new = make_key_and_csr()
    answer = _ask(order, address, ca_pem, new.csr_pem, now)
    pems = Pems(ca_pem, new.key_pem, answer.certificate_pem)
    return _write_down(order.state_dir, address, token, answer, pems)


def _parse(text: str) -> TokenText:
    try:
        return parse_token(text)
    except TokenDamaged as error:
        raise JoinFailed(JoinExit.TOKEN_DAMAGED, str(error)) from None


def _address(text: str) -> Address:
    try:
        address = parse_address(text)
    except BadAddress as error:
        raise JoinFailed(JoinExit.USAGE, str(error)) from None
    if not address.port:
        raise JoinFailed(JoinExit.USAGE, f"{text!r} has port 0, which nobody answers at: write HOST:PORT")
    return address


def _check_state_dir(order: JoinOrder, token: TokenText, now: float) -> None:
    """Refuse what would replace a good identity, and make the directory before a use of the token is spent."""
    try:
        check_state_dir(order.state_dir)
        known = load_identity(order.state_dir)
    except StateDirUnsafe as error:
        raise JoinFailed(JoinExit.STATE_DIR, str(error)) from None
    except (NotJoined, IdentityDamaged):
        known = None
    if known is not None and known.cluster_id != token.cluster_id:
        message = f"{order.state_dir} belongs to a host of cluster {known.cluster_id}, the token to {token.cluster_id}"
        raise JoinFailed(JoinExit.WRONG_CLUSTER, f"{message}: give another --state-dir, or remove that one first")
    if known is not None and now < known.not_after and not order.force:
        message = f"this host already is {known.host_name!r} ({known.host_id}) of cluster {known.cluster_id}"
        raise JoinFailed(JoinExit.ALREADY_JOINED, f"{message}: start it with 'agent run', or join anew with --force")
    try:
        make_state_dir(order.state_dir)
    except OSError as error:
        raise _state_dir_failed(order.state_dir, error) from None


def _ask(order: JoinOrder, address: Address, ca_pem: bytes, csr_pem: bytes, now: float) -> pb.JoinResponse:
    from rallypoint.tls import prepare_grpc

    prepare_grpc()
    import grpc
    from rallypoint.channel import join_channel
    from rallypoint.v1 import access_service_pb2 as pb
    from rallypoint.v1.access_service_pb2_grpc import AccessServiceStub

    request = pb.JoinRequest(
        token=order.token.strip(),
        csr_pem=csr_pem,
        facts=facts_message(order.facts),
        name=order.asked_name,
        host_time=now,
        protocol_version=PROTOCOL_VERSION,
        machine_id=machine_id(),
    )
    with join_channel(str(address), ca_pem=ca_pem) as channel:
        try:
            return AccessServiceStub(channel).Join(request, timeout=order.timeout)
        except grpc.RpcError as error:
            raise _refused(address, error) from None


def facts_message(facts: HostFacts) -> types_pb2.HostFacts:
    """The facts as they go over the wire."""
    from rallypoint.v1 import types_pb2

    return types_pb2.HostFacts(
        backend=facts.backend,
        region=facts.region,
        network=facts.network,
        price_per_hour=facts.price_per_hour,
        labels=dict(facts.labels),
        spot=facts.spot,
        instance_type=facts.instance_type,
        fleet=facts.fleet,
        ephemeral=facts.ephemeral,
    )


def machine_id() -> str:
    """Tells machines apart, without giving away the system's own id; empty where there is none."""
    try:
        system = Path("/etc/machine-id").read_bytes().strip()
    except OSError:
        return ""
    return hashlib.sha256(b"rallypoint:" + system).hexdigest()[:32] if system else ""


def _refused(address: Address, error: grpc.RpcError) -> JoinFailed:
    from rallypoint.errors import reason_of

    reason, message, _ = reason_of(error)
    # Without a reason of ours the message is gRPC's own, which tells a user nothing.
    way_out = "try again, and look at the coordinator's log"
    if reason in _EXITS:
        return JoinFailed(_EXITS[reason], f"the coordinator at {address} refused: {message}")
    if reason == Reason.NOT_LEADER:
        return _Elsewhere(JoinExit.UNREACHABLE, f"the coordinator at {address} takes no hosts in: {message}")
    if reason == "UNIMPLEMENTED":
        way_out = "use the port that 'coordinator serve' prints"
        return JoinFailed(JoinExit.NOT_A_COORDINATOR, f"what answers at {address} takes no hosts in: {way_out}")
    if reason == "DEADLINE_EXCEEDED":
        return JoinFailed(JoinExit.UNREACHABLE, f"the coordinator at {address} did not answer in time: {way_out}")
    if reason == "UNAVAILABLE":
        return JoinFailed(JoinExit.UNREACHABLE, f"the coordinator at {address} broke the connection off: {way_out}")
    if reason in ("UNKNOWN", "INTERNAL", "CANCELLED", "RESOURCE_EXHAUSTED", "DATA_LOSS"):
        return JoinFailed(JoinExit.REFUSED, f"the coordinator at {address} failed to take this host in: {way_out}")
    return JoinFailed(JoinExit.REFUSED, f"the coordinator at {address} refused: {message}")


def _write_down(state_dir: Path, address: Address, token: TokenText, answer: pb.JoinResponse, pems: Pems) -> Identity:
    from agent.credentials import BadCertificate, check_certificate

    try:
        checked = check_certificate(pems)
    except BadCertificate as error:
        raise JoinFailed(JoinExit.REFUSED, f"{error}: ask the coordinator's admin to look at its log") from None
    identity = Identity(
        state_dir=state_dir,
        host_id=checked.peer.host_id,
        host_name=answer.host_name,
        cluster_id=token.cluster_id,
        coordinators=tuple(dict.fromkeys([str(Address(address.host, answer.agent_port)), *answer.coordinators])),
        not_before=checked.not_before,
        not_after=checked.not_after,
    )
    try:
        save(identity, pems)
    except OSError as error:
        raise _state_dir_failed(state_dir, error) from None
    return identity


def _state_dir_failed(state_dir: Path, error: OSError) -> JoinFailed:
    if isinstance(error, FileExistsError | NotADirectoryError):
        message = f"state directory {state_dir} can't be written (it is no directory): give another with --state-dir"
        return JoinFailed(JoinExit.STATE_DIR, message)
    way_out = "free some space, mend its permissions, or give another one with --state-dir"
    return JoinFailed(JoinExit.STATE_DIR, f"state directory {state_dir} can't be written ({error.strerror}): {way_out}")
