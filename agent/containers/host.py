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

from agent.containers import attend, create, traces, variables
from agent.containers.command import run
from agent.containers.detect import detect
from agent.containers.identity import Identity, identity_of
from agent.containers.images import ASK_SECONDS, Images
from agent.containers.model import Auth, Image, NotReady, Runtime
from agent.containers.settling import Settling
from agent.core.model import AllocationId, Cause
from agent.spawner.memory import size
from agent.spawner.reaper import ENDS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from agent.core.model import Desired
    from agent.places import Places
    from agent.spawner.wire import Message
    from agent.users import Account

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


@dataclass(frozen=True, slots=True)
class _Prepared:
    """What a node's container is made of; ``holder`` is to have its files, if that is not the agent's own user."""

    image: Image
    identity: Identity | None
    holder: Account | None


class ContainerHost:
    """Containers by this host's runtime; ``cards`` are its GPUs now, ``own`` is this process's environment, ``task`` is
    whom plain nodes run as."""

    def __init__(
        self,
        places: Places,
        policy: Policy,
        own: Mapping[str, str],
        cards: Callable[[], Mapping[str, create.Card]],
        task: Account,
    ) -> None:
        self.runtime = Runtime(problem="its agent has just started and has not looked yet")
        self.policy = policy
        self._places = places
        self._folder: Path = places.state / FOLDER
        self._folder.mkdir(mode=0o700, exist_ok=True)
        place = os.stat(places.state)
        # As the spawner names itself: several agents of one machine share a runtime.
        self._agent = f"{place.st_dev:x}-{place.st_ino:x}"
        self._prefix = f"rallypoint-{self._agent}-"
        self._own = own
        self._cards = cards
        self._task = task
        self._images = Images(self._folder, policy.image_keep, policy.pull_timeout)
        self._settling = Settling(str(self._folder), policy.pull_timeout)
        self._prepared: dict[AllocationId, _Prepared] = {}

    async def look(self) -> bool:
        """See what runs containers here now; whether that is news."""
        before = self.runtime
        traces.note(self._folder, self._own)
        found = await detect(self.policy.runtime, self._own)
        fixed = identity_of(found, self._task, privileged=False) if found.path else None
        self.runtime = replace(
            found,
            privileged=self.policy.privileged and bool(found.path),
            only_user="" if fixed is None or fixed.mapped else str(fixed.uid),
        )
        if self.runtime != before:
            log.info("containers.found", runtime=found.kind, version=found.version, problem=found.problem)
        return self.runtime != before

    def name_of(self, key: AllocationId) -> str:
        """The name of an allocation's container."""
        return f"{self._prefix}{key}"

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
        self._prepared[desired.id] = await self._settle(desired, image, tell)

    async def _settle(self, desired: Desired, image: Image, tell: Callable[[str], None]) -> _Prepared:
        """Whom its users are, and the directory that it has; what unpacks files there gives it away when it is done."""
        spec, inside = desired.spec, self._places.inside_of(desired.id)
        identity = identity_of(self.runtime, self._task, privileged=spec.privileged)
        os.makedirs(inside, 0o700, exist_ok=True)
        if identity is None:
            _open_to(inside, spec.user or image.user, rootless=self.runtime.rootless)
            return _Prepared(image, None, None)
        user = 0
        if identity.mapped:
            tell(f"image {spec.image}: its files are made ready for its users here")
            labels = self._labels(desired.id)
            name, wanted = f"{self.name_of(desired.id)}-before", spec.user or image.user
            user = await self._settling.user(self.runtime, image, identity, name, labels, wanted)
        elif spec.user and spec.user.partition(":")[0] != self.runtime.only_user:
            only = f"with {self.runtime.kind} all containers run as user {self.runtime.only_user} on this host"
            raise NotReady(f"user {spec.user!r}: {only} (task_user; podman gives them users of their own)", Cause.HOST)
        if os.geteuid() != 0:
            return _Prepared(image, identity, None)
        holder = replace(self._task, uid=identity.on_host(user))
        if not spec.archive:
            os.chown(inside, holder.uid, holder.gid)
        return _Prepared(image, identity, holder)

    def holder(self, key: AllocationId) -> Account | None:
        """Who has the files of a node that was prepared; None: the agent's own user."""
        prepared = self._prepared.get(key)
        return None if prepared is None else prepared.holder

    def _labels(self, key: AllocationId) -> list[str]:
        return ["--label", f"{create.LABEL}={key}", "--label", f"{create.AGENT_LABEL}={self._agent}"]

    def order(self, desired: Desired, env: Mapping[str, str], home: str, script: str, bounds: Message) -> Message:
        """What the spawner is told instead of the node's own program; ``home`` is its directory in the container.

        Raises:
            OSError: the attendant's order can't be written.
            ValueError: a variable can't be given to a container, or a GPU that it holds.
        """
        runtime, spec, prepared = self.runtime, desired.spec, self._prepared[desired.id]
        identity = prepared.identity
        if identity is not None and identity.mapped:
            # Not every runtime passes on its way as the host's root.
            os.chown(self._places.work_of(desired.id), identity.uid, identity.gid)
        elif identity is not None:
            # The image knows no such user, who would be at home nowhere.
            env = {"HOME": home, **env}
        plan = create.Plan(
            desired, self.name_of(desired.id), self._labels(desired.id), prepared.image, self._mounts(desired, home),
            env["DSTACK_WORKING_DIR"], self._cards(), script, bounds, rdma=True, identity=identity,
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
        # By both: an image that somebody made of a node's container has its labels, and so has what runs of that.
        wanted = ("--filter", f"label={create.AGENT_LABEL}={self._agent}", "--filter", f"name=^{self._prefix}")
        label = f'index .Labels "{create.LABEL}"' if runtime.kind == "podman" else f'.Label "{create.LABEL}"'
        argv = [runtime.path, "ps", "--all", *wanted, "--format", "{{.ID}} {{" + label + "}}"]
        found = await run(argv, runtime.env, ASK_SECONDS)
        for line in found.out.splitlines() if found.code == 0 else ():
            container, _, key = line.partition(" ")
            # Asked after the list was made: what is on it had been ordered by then, and ids are never used again.
            if key and not lives(AllocationId(key)):
                log.warning("container.left_over", allocation=key)
                await run([runtime.path, "rm", "--force", container], runtime.env, ASK_SECONDS)
        self._sweep_folders(lives)
        await self._images.prune(runtime, [prepared.image.name for prepared in self._prepared.values()])

    def fetched(self) -> list[str]:
        """The images that are here because they were fetched for nodes."""
        return self._images.fetched()

    def _sweep_folders(self, lives: Callable[[AllocationId], bool]) -> None:
        with os.scandir(self._folder) as entries:
            left = [each for each in entries if each.is_dir() and not each.name.startswith("pull-")]
        for each in left:
            if not lives(AllocationId(each.name)):
                shutil.rmtree(each.path, ignore_errors=True)


def _open_to(path: str, user: str, *, rootless: bool) -> None:
    """Let a container's user, as its runtime has it, write into its directory; nobody else gets through to it."""
    number, _, group = user.partition(":")
    if not number or number in ("root", "0"):
        return
    if number.isdigit() and not rootless:
        os.chown(path, int(number), int(group) if group.isdigit() else int(number))
    else:
        # A name is known in the image alone, and without root's rights nothing can be given away.
        os.chmod(path, 0o777)  # noqa: S103 - see above
