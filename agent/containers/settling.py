"""An image's files for the users that a container is to have: made ready beforehand, as that may take long."""

from __future__ import annotations

import os
import tempfile
from typing import TYPE_CHECKING

from agent.containers.command import ending, run
from agent.containers.model import NotReady
from agent.core.model import Cause

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.containers.identity import Identity
    from agent.containers.model import Image, Runtime

_ASK_SECONDS = 60.0
_SAID = 300


class Settling:
    """Which images have their files for which users; ``folder`` is private to the agent.

    A runtime whose storage can't map owners as it goes copies the whole image once, within ``seconds``.
    """

    def __init__(self, folder: str, seconds: float) -> None:
        self._folder = folder
        self._seconds = seconds
        self._known: dict[tuple[str, Identity, str], int] = {}

    async def user(
        self, runtime: Runtime, image: Image, identity: Identity, name: str, create: Sequence[str], wanted: str
    ) -> int:
        """The id that ``wanted`` (``USER[:GROUP]``, empty: root) has in the image, whose files are then ready.

        ``name`` is that of a container that may be made, with ``create`` among its options.

        Raises:
            NotReady: the image has no such user, or its files can't be made ready.
        """
        user = wanted.partition(":")[0] or "root"
        key = (image.id, identity, user)
        if key not in self._known:
            self._known[key] = await self._settled(runtime, image, [*identity.options(), *create], name, user)
        return self._known[key]

    async def _settled(self, runtime: Runtime, image: Image, options: list[str], name: str, user: str) -> int:
        # In the place of one that an agent left which was killed meanwhile.
        argv = [runtime.path, "create", "--replace", "--name", name, "--pull", "never", "--network", "host", *options]
        try:
            made = await run([*argv, "--entrypoint", "", image.id, "/"], runtime.env, self._seconds)
            if made.code:
                why = ending(made.err, _SAID)
                raise NotReady(f"image {image.name}: its files can't be given to its users here: {why}", Cause.HOST)
            return await self._number(runtime, image, name, user)
        finally:
            await run([runtime.path, "rm", "--force", name], runtime.env, _ASK_SECONDS)

    async def _number(self, runtime: Runtime, image: Image, name: str, user: str) -> int:
        if user == "root" or user.isdigit():
            return 0 if user == "root" else int(user)
        with tempfile.TemporaryDirectory(prefix="pull-", dir=self._folder) as folder:
            path = os.path.join(folder, "passwd")
            await run([runtime.path, "cp", f"{name}:/etc/passwd", path], runtime.env, _ASK_SECONDS)
            try:
                # The image's, which may have laid a link there: that is not followed.
                with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), errors="replace") as file:
                    rows = [line.split(":") for line in file]
            except OSError:
                rows = []
        numbers = [row[2] for row in rows if row[0] == user and len(row) > 2 and row[2].isdigit()]
        if not numbers:
            raise NotReady(f"image {image.name}: it has no user {user!r}; name another, or a user id")
        return int(numbers[0])
