"""What stands in a backup's manifest, and which manifests this release can read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import PurePosixPath

from coordinator.backup.errors import BackupError

NAME = "manifest.json"
FORMAT = 1
DATABASE = "coordinator.db"
AT = "@"
"""Divides the name of a log with gaps from the offset of a run of its bytes: what is between is not in the backup."""


@dataclass(frozen=True, slots=True)
class Member:
    """One file: its size in bytes and the SHA-256 of its content, in hex."""

    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """``join`` is where hosts joined; ``schema`` the database's, empty when that is elsewhere. Unix seconds."""

    version: str
    created_at: float
    join: str
    schema: str
    logs: bool
    members: Mapping[str, Member]

    def to_json(self) -> bytes:
        """As it stands in the backup."""
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=1).encode()


def read_manifest(text: bytes, newest_schema: str) -> Manifest:
    """The manifest again. Raises BackupError when it is damaged, or of a release that is too new."""
    try:
        document = json.loads(text)
        written = int(document.pop("format"))
        version = str(document["version"])
    except (ValueError, TypeError, KeyError, AttributeError):
        raise BackupError("the backup's manifest can't be read: the file is damaged; take another backup") from None
    if written > FORMAT:
        raise BackupError(f"the backup was written by release {version}, which this one is too old for; install that")
    try:
        members = {str(name): Member(**member) for name, member in document.pop("members").items()}
        manifest = Manifest(members=members, **document)
        too_new = bool(manifest.schema) and int(manifest.schema) > int(newest_schema)
    except (ValueError, TypeError, KeyError, AttributeError):
        raise BackupError("the backup's manifest is not complete: the file is damaged; take another backup") from None
    if too_new:
        raise BackupError(
            f"the backup's database has schema {manifest.schema} (release {version}), this release knows up to"
            f" {newest_schema}; restore with the newer release"
        )
    for name in members:
        _check_name(name)
    return manifest


def _check_name(name: str) -> None:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts or name != str(path):
        raise BackupError(f"the backup has a member {name[:80]!r}, which leads out of the data directory; don't use it")
