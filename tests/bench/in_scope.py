"""Run in a machine of its own: has a spawner hold tasks to limits, and says in JSON, a line each, what came of it.

in_scope.py DIRECTORY
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

from agent.spawner import wire

_LIMITS = "cat /proc/self/cgroup; cd /sys/fs/cgroup$(cut -d: -f3 /proc/self/cgroup); cat cpu.max pids.max"
_EATER = "exec python3 -c 'x = bytearray(300 << 20)'"
_BOMB = "for i in $(seq 40); do sleep 1 & done; wait; echo survived"


def main(directory: str) -> None:
    """Ask what would be held; then see."""
    os.makedirs(directory)
    asked = subprocess.run([sys.executable, "-m", "agent.spawner", "--held"], stdout=subprocess.PIPE, check=True)
    _say("held", json.loads(asked.stdout))
    with subprocess.Popen([sys.executable, "-m", "agent.spawner", "--state-dir", directory]) as spawner:
        connection = _connect(os.path.join(directory, wire.SOCKET))
        news = _news(connection)
        for task, script, memory in (("limits", _LIMITS, None), ("eater", _EATER, 64 << 20), ("bomb", _BOMB, None)):
            log = os.path.join(directory, task)
            order: wire.Message = {"op": "spawn", "id": task, "argv": ["/bin/sh", "-c", script], "log": log}
            order |= {"env": {"PATH": "/usr/bin:/bin"}, "cwd": directory, "signal": "TERM", "grace": 1.0, "limit": None}
            order |= {"cpus": 0.5, "hard": True, "pids": 20, "memory": memory}
            connection.sendall(wire.encode([order]))
            ended = next(each for each in news if each["ev"] == "exited")
            with open(log) as file:
                _say(task, {"reason": ended["reason"], "code": ended["code"], "output": file.read()})
        connection.close()
        spawner.wait()


def _connect(path: str) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    while connection.connect_ex(path):
        time.sleep(0.02)
    return connection


def _news(connection: socket.socket) -> Iterator[wire.Message]:
    decoder = wire.Decoder()
    while data := connection.recv(1 << 20):
        yield from decoder.feed(data)


def _say(what: str, told: object) -> None:
    print(json.dumps({what: told}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
