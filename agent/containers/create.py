"""The arguments that make a node's container. Pure: no secret and no variable of the node is among them."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from agent.containers import cdi
from agent.containers.model import NotReady
from agent.core.model import Cause

if TYPE_CHECKING:
    from agent.containers.identity import Identity
    from agent.containers.model import Image, Runtime
    from agent.core.model import Desired

LABEL = "rallypoint.allocation"
AGENT_LABEL = "rallypoint.agent"
INFINIBAND = "/dev/infiniband"
# Where its root is the host's, devices and rights of files that it made would be that for others there, too.
_UNPRIVILEGED = ("--cap-drop", "MKNOD", "--cap-drop", "SETFCAP", "--security-opt", "no-new-privileges")
_DEFAULT_SHELL = "/bin/sh"


@dataclass(frozen=True, slots=True)
class Card:
    """A GPU of this host: its place, and whether it is a part of one (MIG)."""

    index: int
    is_part: bool = False


@dataclass(frozen=True, slots=True)
class Mount:
    """A directory of the host, ``source``, and its place in the container."""

    source: str
    target: str
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """What a container is made of. ``mounts`` are directories of the host, ``cwd`` is where it begins, ``cards`` are
    its GPUs by uuid, ``script`` what a shell would run outside of a container, ``bounds`` what the spawner would
    be told to hold: ``cpus hard pids``; ``identity``: whom its users are, if not as the runtime has it."""

    desired: Desired
    name: str
    labels: Sequence[str]
    image: Image
    mounts: Sequence[Mount]
    cwd: str
    cards: Mapping[str, Card]
    script: str = ""
    bounds: Mapping[str, object] = field(default_factory=dict)
    rdma: bool = False
    identity: Identity | None = None


def options(plan: Plan, runtime: Runtime) -> list[str]:
    """All that comes before the image.

    Raises:
        NotReady: it can't be given a GPU that it holds.
    """
    spec = plan.desired.spec
    words = [
        "--name", plan.name, *plan.labels,
        # Its peers, its master's port, and whatever the host reaches: as a process of the host has it.
        "--network", "host",
        "--pull", "never", "--no-healthcheck", "--security-opt", "label=disable",
        "--workdir", plan.cwd,
    ]  # fmt: skip
    if spec.argv or spec.commands or spec.entrypoint:
        # Empty: the program stands after the image, whatever the image's own entrypoint is.
        words += ["--entrypoint", shlex.split(spec.entrypoint)[0] if spec.entrypoint and not spec.argv else ""]
    words += [word for mount in plan.mounts for word in ("--mount", _mount(mount))]
    if runtime.kind == "podman":
        # Its output goes where ours goes, without anybody in between.
        words += ["--log-driver", "passthrough", "--http-proxy=false"]
    else:
        words += ["--log-driver", "none"]
    if runtime.init:
        words.append("--init")
    if spec.privileged:
        words.append("--privileged")
    else:
        words += _UNPRIVILEGED
    if plan.identity is not None:
        words += plan.identity.options()
    if spec.user and (plan.identity is None or plan.identity.mapped):
        words += ["--user", spec.user]
    return [*words, *_limits(plan, runtime), *_gpus(plan, runtime), *_rdma(plan)]


def words(plan: Plan, runtime: Runtime) -> list[str]:
    """The image and all that comes after it."""
    return [plan.image.id, *_program(plan, runtime)]


def gpu_variables(plan: Plan, runtime: Runtime) -> dict[str, str]:
    """What NVIDIA's runtime reads: without it some images are given all GPUs of the host."""
    uuids = plan.desired.gpu_uuids
    return {"NVIDIA_VISIBLE_DEVICES": ",".join(uuids) if uuids and runtime.gpus == "nvidia" else "void"}


def _program(plan: Plan, runtime: Runtime) -> list[str]:
    spec = plan.desired.spec
    if spec.argv:
        return list(spec.argv)
    if spec.entrypoint:
        return [*shlex.split(spec.entrypoint)[1:], *spec.commands]
    if not spec.commands:
        return []
    script = plan.script
    if not runtime.init:
        # As the first process of a container a shell would not hear of a signal. Its child does.
        script = f"(\n{script}\n)\nexit $?"
    return [spec.shell or _DEFAULT_SHELL, "-c", script]


def _mount(mount: Mount) -> str:
    parts = ("type=bind", f"source={mount.source}", f"target={mount.target}", *(["readonly"] * mount.read_only))
    # A row of comma-separated values, as a spreadsheet would have it.
    return ",".join('"{}"'.format(part.replace('"', '""')) if set(part) & set(',"') else part for part in parts)


def _limits(plan: Plan, runtime: Runtime) -> list[str]:
    spec, found = plan.desired.spec, []
    if spec.memory_limit and "memory" in runtime.limits:
        # With swap a node over its limit would be slow for ever instead of ending.
        found += ["--memory", str(spec.memory_limit), "--memory-swap", str(spec.memory_limit)]
    if "pids" in runtime.limits:
        found += ["--pids-limit", str(plan.bounds.get("pids", -1))]
    cpus = plan.bounds.get("cpus")
    if "cpu" in runtime.limits and isinstance(cpus, int):
        found += ["--cpus", str(cpus)] if plan.bounds.get("hard") else ["--cpu-shares", str(1024 * cpus)]
    if spec.shm_bytes:
        found += ["--shm-size", str(spec.shm_bytes)]
    return found


def _gpus(plan: Plan, runtime: Runtime) -> list[str]:
    uuids = plan.desired.gpu_uuids
    if not uuids:
        return []
    if runtime.gpus == "nvidia":
        return ["--gpus", f'"device={",".join(uuids)}"']
    return [word for uuid in uuids for word in ("--device", _device(uuid, plan.cards, runtime))]


def _device(uuid: str, cards: Mapping[str, Card], runtime: Runtime) -> str:
    card = cards.get(uuid)
    name = None if card is None else cdi.name_of(uuid, card.index, card.is_part, runtime.devices)
    if name is None:
        hint = runtime.gpu_problem or "run 'nvidia-ctk cdi generate' on this host"
        raise NotReady(f"{runtime.kind} can't give a container the GPU {uuid}: {hint}", Cause.HOST)
    return name


def _rdma(plan: Plan) -> Sequence[str]:
    """InfiniBand for the nodes of a group: NCCL pins memory for it."""
    if not plan.rdma or not plan.desired.spec.cluster or not os.path.isdir(INFINIBAND):
        return ()
    return ("--device", INFINIBAND, "--ulimit", "memlock=-1:-1")
