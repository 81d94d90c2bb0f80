"""What MPI starts in place of ssh: `PROGRAM HOST COMMAND…`, run by `rallypoint-mpi-launch`.

Executed with the standard library alone, by any Python from 3.7 on: it asks the local agent to run the command on
another node of the same group, waits, and exits with its code.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time

FAILED = 255
# An agent that is started anew or upgraded ends nothing of its nodes', mpirun neither.
WAIT_SECONDS = 60.0


def main(directory: str, arguments: list[str]) -> int:
    """Ask the agent whose socket is in ``directory``; like ssh, 255 if the command could not be run."""
    while arguments and arguments[0].startswith("-"):
        arguments = arguments[1:]
    if len(arguments) < 2:
        return _fail("usage: rallypoint-mpi-launch HOST COMMAND...")
    try:
        with open(os.environ["RALLYPOINT_LAUNCH_TICKET"]) as file:
            ticket = json.load(file)
    except KeyError:
        return _fail("RALLYPOINT_LAUNCH_TICKET is not set: not inside a node of a cluster job")
    except (OSError, ValueError) as error:
        return _fail(f"the node's launch ticket can't be read: {error}")
    request = {**ticket, "host": arguments[0], "command": " ".join(arguments[1:])}
    try:
        answer = _ask(directory, request)
    except (OSError, ValueError, TypeError) as error:
        return _fail(f"the agent on this host does not answer: {error}")
    code = answer.get("code")
    return code if isinstance(code, int) else _fail(str(answer.get("reason")))


def _ask(directory: str, request: dict[str, str]) -> dict[str, object]:
    # A socket's path may have 107 bytes only, its directory's any number.
    os.chdir(directory)
    with _connected() as connection:
        connection.sendall(json.dumps(request).encode() + b"\n")
        with connection.makefile() as answers:
            answer = json.loads(answers.readline())
    if not isinstance(answer, dict):
        raise TypeError("an answer that is no object")
    return answer


def _connected() -> socket.socket:
    """Raises OSError: the agent is away for longer than a start takes."""
    end = time.monotonic() + WAIT_SECONDS
    while True:
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.connect("mpi.sock")
            return connection
        except (FileNotFoundError, ConnectionRefusedError, PermissionError):
            connection.close()
            if time.monotonic() > end:
                raise
        time.sleep(0.1)


def _fail(reason: str) -> int:
    print(f"rallypoint: {reason}", file=sys.stderr)
    return FAILED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
