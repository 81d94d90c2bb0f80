"""A bare loop over two of our own spawners: the same journal, control groups and output files, and nothing else.

It is the limit of what two agents on this machine could do.
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.fakes.spawner_client import SpawnerClient

SPAWNERS = 2
# What a spawner may have waiting behind each of its slots, as an agent's would.
IN_HAND = 32


class Loop:
    """Spawners, each with as many slots as a host here has processors."""

    def __init__(self, clients: list[SpawnerClient]) -> None:
        self._clients = clients
        self._number = 0

    def run(self, count: int, in_hand: int) -> float:
        """Seconds for so many ``/bin/true``. ``in_hand``: so many orders are given ahead of time for each slot."""
        began, left = time.perf_counter(), count
        slots: dict[tuple[SpawnerClient, int], list[str]] = {
            (client, slot): [] for client in self._clients for slot in range(os.cpu_count() or 1)
        }
        where: dict[str, tuple[SpawnerClient, int]] = {}
        while left or where:
            for (client, slot), waiting in slots.items():
                more = min(left, in_hand + 1 - len(waiting)) if len(waiting) <= in_hand // 2 else 0
                orders = [self._next(client, slot, waiting, where) for _ in range(more)]
                left -= more
                if orders:
                    client.send(*orders)
            for client, ended in self._ends():
                for key in ended:
                    slots[where.pop(key)].remove(key)
                client.send(*({"op": "forget", "id": key} for key in ended))
        return time.perf_counter() - began

    def _next(
        self, client: SpawnerClient, slot: int, waiting: list[str], where: dict[str, tuple[SpawnerClient, int]]
    ) -> dict[str, Any]:
        order = self._order(client, waiting[-1] if waiting else "")
        waiting.append(order["id"])
        where[order["id"]] = client, slot
        return order

    def _order(self, client: SpawnerClient, before: str) -> dict[str, Any]:
        self._number += 1
        key, folder = f"t-{self._number}", str(client.directory)
        log = f"{folder}/{key}.log"
        order = {"op": "spawn", "id": key, "argv": ["/bin/true"], "env": dict(os.environ), "cwd": folder, "log": log}
        order |= {"signal": "TERM", "grace": 5.0, "limit": None}
        return order | ({"behind": before, "within": 60.0} if before else {})

    def _ends(self) -> Iterator[tuple[SpawnerClient, list[str]]]:
        by_socket = {client.socket: client for client in self._clients}
        for connection in select.select(list(by_socket), [], [], 10.0)[0]:
            client = by_socket[connection]
            ended = [str(message["id"]) for message in client.hear() if message["ev"] == "exited"]
            for key in ended:
                os.unlink(client.directory / f"{key}.log")
            if ended:
                yield client, ended


@contextmanager
def bare_loop(folder: Path) -> Iterator[Loop]:
    """Two spawners of their own."""
    clients = [SpawnerClient(folder / f"spawner{number}") for number in range(SPAWNERS)]
    try:
        for client in clients:
            client.directory.mkdir()
            client.start()
        yield Loop(clients)
    finally:
        for client in clients:
            client.kill()
