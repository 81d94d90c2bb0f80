"""The containers of this host: what runs them, how one is prepared, what the spawner is told, what is swept away."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import structlog

from agent.containers import attend, create, variables
from agent.containers.command import run
from agent.containers.detect import detect
from agent.containers.images import ASK_SECONDS, Images
from agent.containers.model import Auth, Image, NotReady, Runtime
from agent.core.model import AllocationId, Cause
from agent.spawner.memory import size
from agent.spawner.reaper import ENDS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from agent.core.model import Desired
    from agent.places import Places
    from agent.spawner.wire import Message

log = structlog.get_logger()

FOLDER = "containers"
# Removes a container, or sees that there is none: it must not succeed for want of an answer.
_UNDO = (
    '"$0" rm --force "$1" >/dev/null 2>&1; left=$("$0" ps --all --quiet --filter "name=^$1\\$" 2>/dev/null)'
    ' && [ -z "$left" ]'
)


@dataclass(frozen=True, slots=True)
class Policy:
    """What this host's owner says: which runtime (``auto``, ``podman``, ``docker``, ``off``), whether containers may be
    privileged, how many of the images that were fetched stay, and how many seconds a fetch may take."""

    runtime: str = "auto"
    privileged: bool = False
    image_keep: int = 20
    pull_timeout: float = 3600.0


class ContainerHost:
    """Containers by this host's runtime; ``cards`` are its GPUs now, ``own`` is this process's environment."""

    def __init__(
        self, places: Places, policy: Policy, own: Mapping[str, str], cards: Callable[[], Mapping[str, create.Card]]
    ) -> None:
        self.runtime = Runtime(problem="its agent has just started and has not looked yet")
        self.policy = policy
        self._places = places
        self._folder: Path = places.state / FOLDER
        self._folder.mkdir(mode=0o700, exist_ok=True)
        place = os.stat(places.state)
        # As the spawner names itself: several agents of one machine share a runtime.
        self._agent = f"{place.st_dev:x}-{place.st_ino:x}"
        self._own = own
        self._cards = cards
        self._images = Images(self._folder, policy.image_keep, policy.pull_timeout)
        self._prepared: dict[AllocationId, Image] = {}

    async def look(self) -> bool:
        """See what runs containers here now; whether that is news."""
        before = self.runtime
        found = await detect(self.policy.runtime, self._own)
        self.runtime = replace(found, privileged=self.policy.privileged and bool(found.path))
        if self.runtime != before:
            log.info("containers.found", runtime=found.kind, version=found.version, problem=found.problem)
        return self.runtime != before

    def name_of(self, key: AllocationId) -> str:
        """The name of an allocation's container."""
        return f"rallypoint-{self._agent}-{key}"

    # --- one container ------------------------------------------------------------------------------------------------

    async def prepare(self, desired: Desired, tell: Callable[[str], None]) -> None:
        """Have the image here; ``tell`` hears how far that is.

        Raises:
            NotReady: it can't be had, or this host runs no such containers.
        """
        spec, runtime = desired.spec, self.runtime
        if not runtime.path:
            raise NotReady(f"image {spec.image}: this host runs no containers: {runtime.problem}", Cause.HOST)
        if spec.privileged and not self.policy.privileged:
            raise NotReady("privileged containers are not allowed on this host (allow_privileged)", Cause.HOST)
        try:
            variables.split(spec.env)
        except variables.Unsayable as error:
            raise NotReady(str(error)) from None
        auth = Auth(spec.registry_user, spec.registry_password) if spec.registry_user else None
        image = await self._images.get(runtime, spec.image, auth, tell)
        self._prepared[desired.id] = image
        self._make_directory(self._places.inside_of(desired.id), spec.user or image.user)

    def _make_directory(self, path: str, user: str) -> None:
        """The container's directory, which its user may write into; a name is known in the image alone."""
        os.makedirs(path, 0o700, exist_ok=True)
        number, _, group = user.partition(":")
        if not number or number in ("root", "0") or self.runtime.rootless or os.geteuid() != 0:
            return
        if number.isdigit():
            os.chown(path, int(number), int(group) if group.isdigit() else int(number))
        else:
            # Nobody else gets through to it.
            os.chmod(path, 0o777)  # noqa: S103 - see above

    def order(self, desired: Desired, env: Mapping[str, str], home: str, script: str, bounds: Message) -> Message:
        """What the spawner is told instead of the node's own program; ``home`` is its directory in the container.

        Raises:
            OSError: the attendant's order can't be written.
            ValueError: a variable can't be given to a container, or a GPU that it holds.
        """
        runtime, spec = self.runtime, desired.spec
        plan = create.Plan(
            desired, self.name_of(desired.id), self._agent, self._prepared[desired.id],
            self._mounts(desired, home), env["DSTACK_WORKING_DIR"], self._cards(), script, bounds, rdma=True,
        )  # fmt: skip
        folder = self._folder_of(desired.id)
        os.makedirs(folder, 0o700, exist_ok=True)
        try:
            options = create.options(plan, runtime)
        except NotReady as error:
            raise ValueError(str(error)) from None
        lines, inherited = variables.split({**create.gpu_variables(plan, runtime), **env})
        order = {
            "runtime": runtime.path,
            "kind": runtime.kind,
            "name": plan.name,
            "env": dict(runtime.env),
            "options": options,
            "words": create.words(plan, runtime),
            "lines": lines,
            "inherited": inherited,
            "init": runtime.init,
            "limit": f"limit {size(spec.memory_limit)}" if spec.memory_limit else "the host had no more to give",
            "folder": folder,
            "log": self._places.log_of(desired.id),
            "ends": str(self._places.state / ENDS),
        }
        path = f"{folder}/order.json"
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(order, file)
        return {
            "argv": [sys.executable, "-I", "-S", attend.__file__, path],
            "env": dict(runtime.env),
            "cwd": folder,
            "memory": None,
            "note": f"{folder}/note",
            "undo": {"argv": ["sh", "-c", _UNDO, runtime.path, plan.name], "env": dict(runtime.env)},
        }

    def _mounts(self, desired: Desired, home: str) -> tuple[create.Mount, ...]:
        """Directories below those that stay the agent's own: root in there may do with its own what it likes."""
        key, mounts = desired.id, [create.Mount(self._places.inside_of(desired.id), home)]
        if desired.group is not None:
            aux, said = self._places.aux_of(key), self._places.said_of(key)
            mounts += [create.Mount(aux, aux, read_only=True), create.Mount(said, said)]
        return tuple(mounts)

    def drop(self, key: AllocationId) -> None:
        """Its container is gone, or never was: so is what was laid ready for it."""
        self._prepared.pop(key, None)
        shutil.rmtree(self._folder_of(key), ignore_errors=True)

    def _folder_of(self, key: AllocationId) -> str:
        return f"{self._folder}/{os.path.basename(self._places.work_of(key))}"

    # --- what is left -------------------------------------------------------------------------------------------------

    async def sweep(self, lives: Callable[[AllocationId], bool]) -> None:
        """Remove containers of this agent whose allocations are over: a machine that died left them, or its tasks were
        killed from outside."""
        runtime = self.runtime
        if not runtime.path:
            return
        wanted = f"label={create.AGENT_LABEL}={self._agent}"
        label = f'index .Labels "{create.LABEL}"' if runtime.kind == "podman" else f'.Label "{create.LABEL}"'
        argv = [runtime.path, "ps", "--all", "--filter", wanted, "--format", "{{.ID}} {{" + label + "}}"]
        found = await run(argv, runtime.env, ASK_SECONDS)
        for line in found.out.splitlines() if found.code == 0 else ():
            container, _, key = line.partition(" ")
            # Asked after the list was made: what is on it had been ordered by then, and ids are never used again.
            if key and not lives(AllocationId(key)):
                log.warning("container.left_over", allocation=key)
                await run([runtime.path, "rm", "--force", container], runtime.env, ASK_SECONDS)
        self._sweep_folders(lives)
        await self._images.prune(runtime, [image.name for image in self._prepared.values()])

    def _sweep_folders(self, lives: Callable[[AllocationId], bool]) -> None:
        with os.scandir(self._folder) as entries:
            left = [each for each in entries if each.is_dir() and not each.name.startswith("pull-")]
        for each in left:
            if not lives(AllocationId(each.name)):
                shutil.rmtree(each.path, ignore_errors=True)
