"""What this host can do with containers, and what is known of an image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from agent.core.model import Cause


@dataclass(frozen=True, slots=True)
class Runtime:
    """What runs containers here. ``path`` empty: nothing does, and ``problem`` says why.

    ``gpus`` is ``cdi``, ``nvidia`` or empty, for ``gpu_problem``; ``devices`` the GPUs that CDI knows by name.
    ``limits`` are those of ``cpu``, ``memory`` and ``pids`` that are held; ``init``: it has a first process to give;
    ``version`` as it says itself; ``privileged``: the host's owner allows such containers. ``only_user``: the id that
    all others run as, whatever the job or the image says; empty: they say it.
    """

    kind: str = ""
    path: str = ""
    version: str = ""
    rootless: bool = False
    gpus: str = ""
    devices: frozenset[str] = frozenset()
    limits: tuple[str, ...] = ()
    init: bool = False
    privileged: bool = False
    only_user: str = ""
    problem: str = ""
    gpu_problem: str = ""
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Image:
    """An image that is here. ``path`` is its own PATH, ``user`` whom it runs as."""

    id: str
    name: str
    path: str = ""
    user: str = ""


@dataclass(frozen=True, slots=True)
class Auth:
    """Who fetches an image. The password is in no text that is made of this."""

    username: str
    password: str = field(repr=False)


class NotReady(Exception):
    """What a node runs in can't be had: the message is the reason, in one line, and ``cause`` whose fault it is."""

    def __init__(self, reason: str, cause: Cause = Cause.START_FAILED) -> None:
        super().__init__(reason)
        self.cause = cause
