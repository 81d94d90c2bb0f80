"""Which runtime this host has, and what it can do. It is asked with a time limit: a daemon may hang."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.containers import cdi
from agent.containers.command import run
from agent.containers.model import Runtime

if TYPE_CHECKING:
    from collections.abc import Mapping

KINDS = ("podman", "docker")
OFF = "off"
ANSWER_SECONDS = 15.0
# What a runtime's own program may know of this process's environment. The rest is none of its business.
_PASSED = (
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "LANG",
    "TMPDIR",
    "XDG_RUNTIME_DIR",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
)
_PASSED_PREFIXES = ("CONTAINERS_", "CONTAINER_HOST", "DOCKER_", "STORAGE_", "REGISTRY_AUTH_FILE")
_PODMAN_INIT = ("/usr/libexec/podman/catatonit", "/usr/lib/podman/catatonit", "/usr/bin/catatonit")


def runtime_env(own: Mapping[str, str]) -> dict[str, str]:
    """The environment of the runtime's program, out of this process's ``own``."""
    return {key: value for key, value in own.items() if key in _PASSED or key.startswith(_PASSED_PREFIXES)}


async def detect(wanted: str, own: Mapping[str, str]) -> Runtime:
    """The first runtime that works; ``wanted`` is one's name, ``auto`` or ``off``."""
    if wanted == OFF:
        return Runtime(problem="switched off for this host's agent (containers = off)")
    kinds = KINDS if wanted == "auto" else (wanted,)
    env = runtime_env(own)
    problems = []
    for kind in kinds:
        path = shutil.which(kind, path=env.get("PATH"))
        if path is None:
            continue
        found = await _ask(kind, path, env)
        if not found.problem:
            return found
        problems.append(found.problem)
    return Runtime(problem="; ".join(problems) or f"its agent finds no {' or '.join(kinds)}")


async def _ask(kind: str, path: str, env: dict[str, str]) -> Runtime:
    answer = await run([path, "info", "--format", "{{json .}}"], env, ANSWER_SECONDS)
    if answer.code:
        return Runtime(problem=f"{kind} is there but does not work: {answer.err[:300]}")
    try:
        told = json.loads(answer.out)
        return _podman(path, env, told) if kind == "podman" else _docker(path, env, told)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return Runtime(problem=f"{kind} is there but what it says is not understood: {type(error).__name__}: {error}")


def _podman(path: str, env: dict[str, str], told: dict[str, Any]) -> Runtime:
    host = told["host"]
    devices = cdi.devices()
    controllers = host.get("cgroupControllers") or []
    return Runtime(
        kind="podman",
        path=path,
        version=str(told["version"]["Version"]),
        rootless=bool(host["security"]["rootless"]),
        gpus="cdi" if devices else "",
        devices=devices,
        limits=tuple(limit for limit in ("cpu", "memory", "pids") if limit in controllers),
        init=any(os.access(program, os.X_OK) for program in _PODMAN_INIT),
        gpu_problem="" if devices else _no_cdi(),
        env=env,
    )


def _docker(path: str, env: dict[str, str], told: dict[str, Any]) -> Runtime:
    errors = told.get("ServerErrors") or []
    if errors:
        return Runtime(problem=f"docker is there but does not work: {str(errors[0])[:300]}")
    by_cdi = cdi.devices() if told.get("CDISpecDirs") else frozenset()
    gpus = "nvidia" if "nvidia" in (told.get("Runtimes") or {}) else "cdi" if by_cdi else ""
    limits = {"cpu": "CpuCfsQuota", "memory": "MemoryLimit", "pids": "PidsLimit"}
    return Runtime(
        kind="docker",
        path=path,
        version=str(told["ServerVersion"]),
        rootless=any("rootless" in str(option) for option in told.get("SecurityOptions") or []),
        gpus=gpus,
        devices=by_cdi,
        limits=tuple(limit for limit, field in limits.items() if told.get(field)),
        init=bool(told.get("InitBinary")),
        gpu_problem="" if gpus else "docker has no NVIDIA runtime; run 'nvidia-ctk runtime configure'",
        env=env,
    )


def _no_cdi() -> str:
    folders = " or ".join(str(folder) for folder in cdi.FOLDERS)
    hint = "run 'nvidia-ctk cdi generate'"
    return f"no CDI file in {folders} names NVIDIA's GPUs; {hint}" if Path("/dev/nvidiactl").exists() else "no GPU here"
