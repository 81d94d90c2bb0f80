"""What a node runs in, a container or an environment of Python, and whether a host can make that: if not, why."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from coordinator.core.hardware import Containers, Hardware
from coordinator.core.model import Host, HostState
from coordinator.core.spec import JobSpec


@dataclass(frozen=True, slots=True)
class Runs:
    """What is asked of a host: containers, privileged ones or with a ``user`` of the job's own, a Python."""

    image: bool = False
    privileged: bool = False
    python: bool = False
    user: str = ""

    @classmethod
    def of(cls, spec: JobSpec) -> Runs:
        """What the nodes of a job run in."""
        if spec.image is None and spec.python is None:
            return PLAIN
        user = spec.user if spec.image is not None and not spec.privileged else None
        return cls(spec.image is not None, spec.privileged, spec.python is not None, user or "")


PLAIN = Runs()
"""As processes of the host."""


def lacks(hardware: Hardware, runs: Runs, gpus: int) -> str | None:
    """Why the host can't run such a node with so many GPUs; None when it can."""
    if hardware.looking:
        return f"needs {_wanted(runs)}, for which its agent, which has just started, still looks"
    if runs.image:
        return _lacks_container(hardware, runs, gpus)
    if runs.python and not hardware.uv:
        return f"needs {_wanted(runs)}, has none"
    return None


def remedy(hardware: Hardware, runs: Runs) -> str:
    """What would make the host able to, for "would fit …"."""
    if hardware.looking:
        return f"as soon as its agent has found {_wanted(runs)}"
    if not runs.image:
        return "with uv installed for its agent"
    found = hardware.containers
    if not found.runtime:
        return "with podman or docker usable for its agent"
    if runs.privileged and not found.privileged:
        return "if its owner set allow_privileged for its agent"
    if _is_other_user(runs, found):
        return "with podman, which gives containers users of their own, or without user:"
    return f"if its {found.runtime} gave containers GPUs (nvidia-ctk cdi generate)"


def undecided(hosts: Iterable[Host], runs: Runs) -> bool:
    """Whether what no host can run may be run in a moment, by one whose agent still looks."""
    online = (host.hardware for host in hosts if host.state is HostState.ONLINE)
    return runs != PLAIN and any(hardware is not None and hardware.looking for hardware in online)


def _wanted(runs: Runs) -> str:
    return "podman or docker for its image" if runs.image else "uv for its Python environment"


def _lacks_container(hardware: Hardware, runs: Runs, gpus: int) -> str | None:
    found = hardware.containers
    if not found.runtime:
        return f"needs {_wanted(runs)}: {found.problem or 'its agent reports none'}"
    if runs.privileged and not found.privileged:
        return "needs a privileged container, which its owner does not allow"
    if _is_other_user(runs, found):
        return f"needs user {runs.user!r} in its container, its {found.runtime} runs all as user {found.only_user}"
    if gpus and not found.gpus:
        return f"needs GPUs in a container, its {found.runtime} gives none{_because(found.gpu_problem)}"
    return None


def _is_other_user(runs: Runs, found: Containers) -> bool:
    return bool(runs.user and found.only_user) and runs.user.partition(":")[0] != found.only_user


def _because(reason: str) -> str:
    return f" ({reason})" if reason else ""
