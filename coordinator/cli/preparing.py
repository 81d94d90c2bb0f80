"""What is done for a job before it starts, such as fetching an image: said when it is news."""

from __future__ import annotations

import re
from collections.abc import Callable

from rallypoint.v1 import types_pb2 as pb

from coordinator.core.words import PREPARING

_SECONDS = re.compile(r" \(\d+ s\)")


def prepares(job: pb.Job) -> bool:
    """Whether something is done for the job that it waits for."""
    return PREPARING in job.reason


class Preparing:
    """Hears of a job again and again; says what is done for it, but not each time that it has only taken longer."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._told = ""

    def hear(self, job: pb.Job) -> None:
        """The job as it is now."""
        words = _SECONDS.sub("", job.reason) if prepares(job) else ""
        if words and words != self._told:
            self._say(f"job {job.id} ({job.name}): {job.reason}")
        self._told = words
