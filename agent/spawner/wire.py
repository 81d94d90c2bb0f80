"""The language between daemon and spawner: frames of a length and a JSON list of messages.

Orders, daemon to spawner (``op``):

* ``spawn``: ``id argv env cwd log signal grace limit after meta``. ``limit``: seconds or null; ``after``: seconds out
  of contact that it may outlast, if the lease is not longer, or null for any time; ``meta`` comes back as it is.
  ``cpus`` and ``hard``: processors that it gets the weight of, or no more than; ``pids``: most processes and threads;
  ``shm``: bytes of a /dev/shm of its own; each may be left out.
  ``as``: user id, group id and the other groups' ids that it runs as; without it as the spawner.
  With ``behind within`` it waits until that other task is over, for so many seconds at most. With ``undo`` (``argv
  env``) that command must succeed after its end before it is over; in the file ``note`` its main process may say more
  of its end: ``cause reason``.
* ``exec``: ``id key argv env cwd``, and maybe ``as shm``: one more process in the tree of the running task ``id``,
  writing to its log.
* ``stop``: ``id signal grace cause reason``.
* ``forget``: ``id``, of a task that has ended.
* ``lease``: ``until grace since``: on the clock of :func:`now`, when all work but what may go on for longer must be
  stopped unless it is prolonged, and when the last contact was.

News, spawner to daemon (``ev``):

* ``snapshot``: ``records boot held queues users``, once, first. ``held``: what ends trees and limits memory here;
  ``queues``: orders may say ``behind``; ``users``: they may say ``as``.
* ``started``: ``id pid at``; ``stopping``: ``id``; ``exited``: ``id code at cause reason log_bytes``.
* ``returned``: ``id at reason``, of a task that waited behind another one and will not be started.
* ``stuck``: ``id reason``: what can't be killed and so is not over.
* ``exec_ended``: ``id key code reason``.
"""

import json
import struct
import time

SOCKET = "spawner.sock"
# Held by who serves a state directory.
LOCK = "spawner.lock"
# The spawner's option: no control groups, whether or not the host allows them.
NO_CGROUPS = "--no-cgroups"
# Do not serve, say what would hold tasks here: ``held`` of the snapshot.
HELD = "--held"
MAX_FRAME = 64 * 1024 * 1024

Message = dict[str, object]

_LENGTH = struct.Struct("!I")


class WireError(ValueError):
    """The other side of the spawner's socket does not speak its language."""


def now() -> float:
    """Seconds on a clock that no one sets, that counts suspended time, and that all processes of a boot share."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def encode(messages: list[Message]) -> bytes:
    """One frame with all ``messages``."""
    body = json.dumps(messages, separators=(",", ":")).encode()
    return _LENGTH.pack(len(body)) + body


class Decoder:
    """Puts frames together from whatever pieces arrive."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Message]:
        """Messages of all frames that are complete now.

        Raises:
            WireError: a frame is longer than ``MAX_FRAME`` or is not a JSON list.
        """
        self._buffer += data
        messages: list[Message] = []
        while len(self._buffer) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._buffer)
            if length > MAX_FRAME:
                raise WireError(f"a frame of {length} bytes")
            end = _LENGTH.size + length
            if len(self._buffer) < end:
                break
            messages += _parsed(bytes(self._buffer[_LENGTH.size : end]))
            del self._buffer[:end]
        return messages


def _parsed(body: bytes) -> list[Message]:
    try:
        messages = json.loads(body)
    except ValueError as error:
        raise WireError("a frame that is not JSON") from error
    if not isinstance(messages, list):
        raise WireError("a frame that is not a list")
    return messages
