"""Names of images: which registry is meant, and what a runtime reads a password from."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agent.containers.model import Auth

# What docker means by a name without a registry, and the key of that registry's passwords.
HUB = "docker.io"
_DOCKERS_HUB = "https://index.docker.io/v1/"


def registry_of(image: str) -> str:
    """The registry that an image is fetched from."""
    first, slash, _ = image.partition("/")
    return first if slash and ("." in first or ":" in first or first == "localhost") else HUB


def full(image: str) -> str:
    """The name with its registry, which podman wants to be told."""
    if registry_of(image) != HUB or image.startswith(f"{HUB}/"):
        return image
    return f"{HUB}/{image}" if "/" in image else f"{HUB}/library/{image}"


def is_moving(image: str) -> bool:
    """Whether the name may stand for another image tomorrow: ``latest``, or no tag at all."""
    if "@" in image:
        return False
    _, _, tag = image.rpartition("/")[2].partition(":")
    return tag in ("", "latest")


def auth_file(image: str, auth: Auth, kind: str) -> str:
    """The file from which ``podman`` or ``docker`` reads a registry's password."""
    registry = registry_of(image)
    key = _DOCKERS_HUB if kind == "docker" and registry == HUB else registry
    secret = base64.b64encode(f"{auth.username}:{auth.password}".encode()).decode()
    return json.dumps({"auths": {key: {"auth": secret}}})
