"""The coordinator as the installer sees it: its manifest and wheels, over TLS by the cluster's CA alone."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import platform
import socket
import ssl
import sys
from dataclasses import dataclass
from pathlib import Path

from rallypoint.tls import SERVER_NAME

from agent.install.errors import CannotInstall, because

_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Wheel:
    """A wheel as the manifest names it; ``size`` in bytes."""

    name: str
    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """What the coordinator has: its wheel, perhaps pip's, and dependencies by kind of host; where hosts join."""

    wheel: Wheel
    pip: Wheel | None
    wheelhouse: dict[str, tuple[Wheel, ...]]
    join: tuple[str, ...]
    cluster: str

    def house(self, kind: str) -> tuple[Wheel, ...]:
        """The dependencies for a kind of host (``cp311-x86_64``); empty where there are none."""
        return self.wheelhouse.get(kind, ())


def host_kind() -> str:
    """What kind of wheels this Python on this machine needs."""
    return f"cp{sys.version_info.major}{sys.version_info.minor}-{platform.machine()}"


@dataclass(frozen=True, slots=True)
class Coordinator:
    """Where a coordinator's installer answers (``HOST:PORT``), and the file of the CA that it must prove itself by."""

    address: str
    ca: Path

    def manifest(self) -> Manifest:
        """What it has. Raises ``CannotInstall``."""
        try:
            content = json.loads(self._get("/manifest.json"))
            houses = {kind: tuple(Wheel(**each) for each in wheels) for kind, wheels in content["wheelhouse"].items()}
            return Manifest(
                wheel=Wheel(**content["wheel"]),
                pip=Wheel(**content["pip"]) if content["pip"] else None,
                wheelhouse=houses,
                join=tuple(content["join"]),
                cluster=content["cluster"],
            )
        except (ValueError, KeyError, TypeError, AttributeError):
            text = (
                f"the manifest of {self.address} can't be read: is its coordinator of another version? make a new line"
            )
            raise CannotInstall(text) from None

    def download(self, wheel: Wheel, folder: Path) -> Path:
        """A wheel, checked, as a file in ``folder``. Raises ``CannotInstall``."""
        content = self._get(f"/wheels/{wheel.sha256}/{wheel.name}")
        if hashlib.sha256(content).hexdigest() != wheel.sha256:
            raise CannotInstall(
                f"{wheel.name} from {self.address} is not what the coordinator's manifest says (SHA-256): build it anew"
                " there with 'coordinator wheelhouse build', or restart the coordinator if it is Rallypoint's own"
            )
        path = folder / os.path.basename(wheel.name)
        try:
            path.write_bytes(content)
        except OSError as error:
            raise CannotInstall(f"{path.name} can't be kept ({because(error)}); TMPDIR names another place") from None
        return path

    def standing(self, credentials: Path) -> str | None:
        """How the coordinator sees the host with these credentials: ``online``, …; empty when it can't say now.

        None: it stands by, and another one knows.
        """
        try:
            status, content = self._ask("/standing", credentials)
            if status == http.HTTPStatus.SERVICE_UNAVAILABLE:
                return None
            return str(json.loads(content)["state"]) if status == http.HTTPStatus.OK else ""
        except (OSError, http.client.HTTPException, ValueError, KeyError):
            return ""

    def _get(self, path: str) -> bytes:
        try:
            status, content = self._ask(path)
        except ssl.SSLError as error:
            text = f"who answers at {self.address} is not the coordinator that the line is for ({error})"
            raise CannotInstall(f"{text}: check the address") from None
        except (OSError, http.client.HTTPException) as error:
            text = f"no answer from {self.address} ({error}): check the address and the firewalls in between"
            raise CannotInstall(text) from None
        if status != http.HTTPStatus.OK:
            raise CannotInstall(
                f"{self.address} refused {path}: {' '.join(content[:300].decode(errors='replace').split())}"
            )
        return content

    def _ask(self, path: str, credentials: Path | None = None) -> tuple[int, bytes]:
        context = ssl.create_default_context(cafile=str(self.ca))
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        if credentials is not None:
            context.load_cert_chain(credentials)
        connection = _Connection(self.address, context)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()


class _Connection(http.client.HTTPSConnection):
    """Who answers is checked by the name that every coordinator has, not by the address that it is reached at."""

    def __init__(self, address: str, context: ssl.SSLContext) -> None:
        super().__init__(address, timeout=_SECONDS)
        self._tls = context

    def connect(self) -> None:
        raw = socket.create_connection((self.host, self.port), _SECONDS)
        self.sock = self._tls.wrap_socket(raw, server_hostname=SERVER_NAME)
