"""The host's identity on disk, in the agent's state directory (0700).

``identity.json``    who this host is, where its coordinator answers, how long its certificate lives
``credentials.pem``  key and certificate together (0600): one rename replaces both, so they always match
``ca.pem``           the cluster's CA, checked against the join token's pin

The daemon reads the JSON only: loading ``cryptography`` would double an idle agent's memory. What needs it runs in
``agent.credentials``, for a renewal in a short-lived process.
"""

from __future__ import annotations

import json
import os
import pwd
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rallypoint.files import readable_by_others, write_private
from rallypoint.tls import PeerFiles

from agent.installation import SYSTEM_STATE_DIR
from agent.statedir import make_state_dir

IDENTITY_FILE = "identity.json"
CREDENTIALS_FILE = "credentials.pem"
CA_FILE = "ca.pem"
_RENEW_AT = 2 / 3
_JOIN = "'agent join HOST:PORT --token-file F'"


class NotJoined(Exception):
    """This host has not joined a cluster; run 'agent join HOST:PORT --token-file F' first."""


class IdentityDamaged(Exception):
    """The identity can't be used as it is on disk."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who this host is. Times are Unix seconds; ``coordinators`` are ``HOST:PORT`` of agent ports."""

    state_dir: Path
    host_id: str
    host_name: str
    cluster_id: str
    coordinators: tuple[str, ...]
    not_before: float
    not_after: float

    @property
    def credentials_path(self) -> Path:
        """Key and certificate in one PEM file."""
        return self.state_dir / CREDENTIALS_FILE

    @property
    def ca_path(self) -> Path:
        """The cluster's CA certificate."""
        return self.state_dir / CA_FILE

    @property
    def peer_files(self) -> PeerFiles:
        """What the peer port's TLS contexts are made from."""
        return PeerFiles(credentials=self.credentials_path, ca=self.ca_path)


@dataclass(frozen=True, slots=True)
class Pems:
    """Contents for ``rallypoint.channel.agent_channel(address, **asdict(pems))``."""

    ca_pem: bytes
    key_pem: bytes
    certificate_pem: bytes


def default_state_dir() -> Path:
    """Where an agent keeps its state unless told otherwise.

    Root's own home is closed to those as whom its agent runs nodes: that one has its state where services have it.
    """
    from platformdirs import user_state_path

    own = user_state_path("rallypoint", appauthor=False) / "agent"
    if os.geteuid() or own.exists() or not own.is_relative_to(pwd.getpwuid(0).pw_dir):
        return own
    return SYSTEM_STATE_DIR


def load_identity(state_dir: Path) -> Identity:
    """Read the identity. Raises ``NotJoined``; ``IdentityDamaged`` when files are unreadable or open to others."""
    path = state_dir / IDENTITY_FILE
    try:
        identity = _from_json(state_dir, json.loads(path.read_bytes()))
    except FileNotFoundError:
        way_out = f"run {_JOIN} first, or give the right directory with --state-dir"
        raise NotJoined(f"this host has not joined a cluster ({state_dir} holds no identity): {way_out}") from None
    except OSError as error:
        way_out = "run the agent as the user who joined"
        raise IdentityDamaged(f"{path} can't be read ({error.strerror}): {way_out}") from None
    except (ValueError, TypeError, KeyError):
        raise IdentityDamaged(f"{path} is damaged: join again with {_JOIN}") from None
    check_private(identity.credentials_path)
    return identity


def load_pems(identity: Identity) -> Pems:
    """Read keys and certificates for a channel. Raises ``IdentityDamaged``."""
    check_private(identity.credentials_path)
    try:
        key, certificate = split_credentials(identity.credentials_path.read_bytes())
        return Pems(identity.ca_path.read_bytes(), key, certificate)
    except (OSError, ValueError) as error:
        raise IdentityDamaged(
            f"the keys in {identity.state_dir} can't be used ({error}): join again with {_JOIN}"
        ) from None


def needs_renewal(identity: Identity, wall_now: float) -> bool:
    """Whether two thirds of the certificate's life are over."""
    return wall_now >= identity.not_before + _RENEW_AT * (identity.not_after - identity.not_before)


def save(identity: Identity, pems: Pems) -> None:
    """Write everything, the JSON last: until then the directory counts as not joined."""
    make_state_dir(identity.state_dir)
    (identity.state_dir / IDENTITY_FILE).unlink(missing_ok=True)
    write_private(identity.ca_path, pems.ca_pem)
    write_private(identity.credentials_path, pems.key_pem + pems.certificate_pem)
    save_record(identity)


def save_record(identity: Identity) -> None:
    """Write ``identity.json`` alone."""
    record = asdict(identity)
    del record["state_dir"]
    write_private(identity.state_dir / IDENTITY_FILE, json.dumps(record, indent=1).encode() + b"\n")


def _from_json(state_dir: Path, record: dict[str, Any]) -> Identity:
    return Identity(
        state_dir=state_dir,
        host_id=str(record["host_id"]),
        host_name=str(record["host_name"]),
        cluster_id=str(record["cluster_id"]),
        coordinators=tuple(str(address) for address in record["coordinators"]),
        not_before=float(record["not_before"]),
        not_after=float(record["not_after"]),
    )


def split_credentials(pem: bytes) -> tuple[bytes, bytes]:
    """Key and certificate out of ``credentials.pem``. Raises ``ValueError``."""
    key, marker, certificate = pem.partition(b"-----BEGIN CERTIFICATE-----")
    if not marker or b"PRIVATE KEY" not in key:
        raise ValueError(f"{CREDENTIALS_FILE} does not hold a key and a certificate")
    return key, marker + certificate


def check_private(path: Path) -> None:
    """Refuse a secret that other users may read. Raises ``IdentityDamaged``."""
    try:
        exposed = readable_by_others(path)
    except OSError as error:
        raise IdentityDamaged(f"{path} can't be read ({error.strerror}): join again with {_JOIN}") from None
    if exposed:
        raise IdentityDamaged(f"{path} may be read by other users: run 'chmod 600 {path}'")


def store_renewed(identity: Identity, pems: Pems) -> None:
    """Replace key and certificate. The record follows: were it lost, the next start would only renew early."""
    write_private(identity.credentials_path, pems.key_pem + pems.certificate_pem)
    save_record(identity)
