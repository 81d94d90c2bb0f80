"""Images: fetched once however many wait for one, kept as long as they are of use, and removed if we fetched them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import structlog

from agent.closed import for_owner
from agent.containers import names
from agent.containers.command import NO_ANSWER, Answer, ending, run
from agent.containers.model import Image, NotReady
from agent.containers.private import Private
from agent.core.model import Cause

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from agent.containers.model import Auth, Runtime

log = structlog.get_logger()

ASK_SECONDS = 60.0
LEDGER = "images.json"
_PULL = "pull-"
# So much of a line is told while an image is fetched, and of an error in the end.
_TOLD = 200
_SAID = 300
_DENIED = (
    "unauthorized",
    "authentication required",
    "no basic auth credentials",
    "access denied",
    "access to the resource is denied",
    "denied:",
    "forbidden",
    "incorrect username",
)
_MISSING = ("manifest unknown", "not found", "name unknown", "name invalid", "invalid reference", "no such image")
_FULL = ("no space left", "disk quota exceeded")
# Of the runtime's own helpers on this host.
_BROKEN = "executable file not found"


@dataclass(slots=True)
class _Fetch:
    """One that is under way, and who wait for it."""

    tell: dict[object, Callable[[str], None]] = field(default_factory=dict)
    task: asyncio.Task[None] | None = None


class Images:
    """The images of one runtime. ``folder`` is private to the agent; ``seconds`` is the longest time for a fetch.

    ``keep`` of those that were fetched stay, the ones used last; what other people brought here is not touched.
    """

    def __init__(self, folder: Path, keep: int, seconds: float, pauses: tuple[float, ...] = (2.0, 10.0, 30.0)) -> None:
        self._folder = folder
        self._keep = keep
        self._seconds = seconds
        self._pauses = pauses
        self._wanted: Counter[str] = Counter()
        self._fetches: dict[tuple[str, str, str], _Fetch] = {}
        self._private = Private(folder)
        for left in folder.glob(f"{_PULL}*"):
            # Of an agent that was killed meanwhile: there may be a password in it.
            shutil.rmtree(left, ignore_errors=True)

    async def get(self, runtime: Runtime, image: str, auth: Auth | None, tell: Callable[[str], None]) -> Image:
        """The image, fetched if it is not here, or if its name may stand for a newer one.

        Raises:
            NotReady: it can't be had.
        """
        self._wanted[image] += 1
        try:
            return await self._got(runtime, image, auth, tell)
        finally:
            self._wanted[image] -= 1

    async def _got(self, runtime: Runtime, image: str, auth: Auth | None, tell: Callable[[str], None]) -> Image:
        found = await self._look(runtime, image)
        asks = self._private.asks(image, auth)
        if found is None or asks or (names.is_moving(image) and names.registry_of(found.name) != "localhost"):
            try:
                await self._fetched(runtime, image, auth, tell)
                self._private.showed(image, auth)
            except NotReady as error:
                if found is None or asks or error.cause is not Cause.HOST:
                    raise
                log.warning("image.not_renewed", image=image, reason=str(error))
            found = await self._look(runtime, image) or found
        if found is None:
            raise NotReady(f"image {image}: {runtime.kind} fetched it and does not find it", Cause.HOST)
        self._note(found.name)
        return found

    async def _look(self, runtime: Runtime, image: str) -> Image | None:
        # By its whole name: podman takes any image here whose name ends so, and another user may have brought that.
        name = names.full(image)
        answer = await run([runtime.path, "image", "inspect", name], runtime.env, ASK_SECONDS)
        if answer.code == NO_ANSWER:
            raise NotReady(f"image {image}: {answer.err}", Cause.HOST)
        return _read(name, answer.out) if answer.code == 0 else None

    # --- fetching -----------------------------------------------------------------------------------------------------

    async def _fetched(self, runtime: Runtime, image: str, auth: Auth | None, tell: Callable[[str], None]) -> None:
        """Wait for it with all others; when nobody waits any more it is not fetched any further."""
        key = (image, auth.username if auth else "", auth.password if auth else "")
        fetch = self._fetches.get(key)
        if fetch is None:
            fetch = self._fetches[key] = _Fetch()
            fetch.task = asyncio.create_task(self._fetch(runtime, image, auth, fetch))
            fetch.task.add_done_callback(lambda _: self._let_go(key, fetch))
        assert fetch.task is not None
        waiter = object()
        fetch.tell[waiter] = tell
        try:
            await asyncio.shield(fetch.task)
        finally:
            del fetch.tell[waiter]
            if not fetch.tell and not fetch.task.done():
                # It takes a moment to end: whoever comes meanwhile must not wait for what will not be.
                self._let_go(key, fetch)
                fetch.task.cancel()

    def _let_go(self, key: tuple[str, str, str], fetch: _Fetch) -> None:
        if self._fetches.get(key) is fetch:
            del self._fetches[key]

    async def _fetch(self, runtime: Runtime, image: str, auth: Auth | None, fetch: _Fetch) -> None:
        def on_line(line: str) -> None:
            text = f"pulling {image}: {line}"
            for tell in list(fetch.tell.values()):
                tell(text)

        try:
            on_line("asking the registry")
            async with asyncio.timeout(self._seconds):
                await self._try(runtime, image, auth, on_line)
            self._note(names.full(image), fetched=True)
        except TimeoutError:
            raise NotReady(f"image {image}: not pulled within {self._seconds:g} s", Cause.HOST) from None

    async def _try(self, runtime: Runtime, image: str, auth: Auth | None, on_line: Callable[[str], None]) -> None:
        failed = ""
        for pause in (*self._pauses, None):
            answer = await self._pull(runtime, image, auth, partial(_tell, on_line, failed))
            if answer.code == 0:
                log.info("image.pulled", image=image)
                return
            wrong = _judged(image, answer.err, auth is not None)
            log.warning("image.not_pulled", image=image, reason=str(wrong))
            if wrong.cause is not Cause.HOST or pause is None or any(word in answer.err.lower() for word in _FULL):
                raise wrong
            cause = ending(answer.err, _TOLD)
            failed = f" (failed before: {cause})"
            on_line(f"again in {pause:g} s: {cause}")
            await asyncio.sleep(pause)

    async def _pull(self, runtime: Runtime, image: str, auth: Auth | None, on_line: Callable[[str], None]) -> Answer:
        # A folder that only we can read, for as long as it takes: the password is in no argument.
        folder = tempfile.mkdtemp(prefix=_PULL, dir=self._folder)
        try:
            options: list[str] = []
            if auth is not None:
                path = os.path.join(folder, "config.json")
                with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
                    file.write(names.auth_file(image, auth, runtime.kind))
                options = ["--authfile", path] if runtime.kind == "podman" else []
            first = ["--config", folder] if auth is not None and runtime.kind == "docker" else []
            argv = [runtime.path, *first, "pull", *options, "--", names.full(image)]
            return await run(argv, runtime.env, self._seconds, on_line)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    # --- keeping ------------------------------------------------------------------------------------------------------

    async def prune(self, runtime: Runtime, needed: Iterable[str]) -> None:
        """Remove what was fetched, but for the ``keep`` images that were used last, those that are ``needed``, and what
        a container uses."""
        stay = {names.full(name) for name in (*needed, *+self._wanted)}
        ledger = {name: at for name, at in self._ledger().items() if name not in stay}
        for name in sorted(ledger, key=lambda name: ledger[name])[: max(0, len(ledger) - self._keep)]:
            answer = await run([runtime.path, "rmi", name], runtime.env, ASK_SECONDS)
            if answer.code == 0 or "no such" in answer.err.lower() or "not known" in answer.err.lower():
                self._note(name, gone=True)
                self._private.gone(name)
                log.info("image.removed", image=name)

    def fetched(self) -> list[str]:
        """The names of those that were fetched by us, and are still here."""
        return sorted(self._ledger())

    def _ledger(self) -> dict[str, float]:
        try:
            with open(self._folder / LEDGER) as file:
                return {str(name): float(at) for name, at in json.load(file).items()}
        except (OSError, ValueError, AttributeError, TypeError):
            return {}

    def _note(self, name: str, *, fetched: bool = False, gone: bool = False) -> None:
        """When an image that was fetched by us was last used, or that it is gone."""
        ledger = self._ledger()
        if not fetched and name not in ledger:
            return
        ledger[name] = time.time()
        if gone:
            del ledger[name]
        part = self._folder / f"{LEDGER}.part"
        with contextlib.suppress(OSError):
            with open(part, "w", opener=for_owner) as file:
                file.write(json.dumps(ledger))
            part.rename(self._folder / LEDGER)


def _tell(on_line: Callable[[str], None], failed: str, line: str) -> None:
    """Pass a line of the runtime's on, with why it is at it again."""
    on_line(f"{ending(line, _TOLD)}{failed}")


def _read(name: str, out: str) -> Image:
    try:
        told = json.loads(out)[0]
        config = told.get("Config") or {}
        env = dict(entry.partition("=")[::2] for entry in config.get("Env") or ())
        return Image(str(told["Id"]), name, env.get("PATH", ""), str(config.get("User") or ""))
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise NotReady(f"image {name}: what the runtime says of it is not understood: {error}", Cause.HOST) from None


def _judged(image: str, said: str, with_auth: bool) -> NotReady:
    """Whose fault it is that an image can't be fetched."""
    text, said = said.lower(), ending(said, _SAID)
    if any(word in text for word in _FULL):
        return NotReady(f"image {image}: no room for it on this host's disk: {said}", Cause.HOST)
    if any(word in text for word in _DENIED):
        hint = "check its name and registry_auth" if with_auth else "check its name, or add registry_auth"
        return NotReady(f"image {image}: its registry refuses: {said}; {hint}")
    if any(word in text for word in _MISSING) and _BROKEN not in text:
        return NotReady(f"image {image}: there is no such image: {said}; check its name and tag")
    return NotReady(f"image {image}: could not be pulled: {said}", Cause.HOST)
