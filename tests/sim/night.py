"""Very many histories on all cores, and the smallest history that still shows what a broken one showed."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Iterator

from tests.sim.history import Broken, Shape, run
from tests.sim.world import Parts

HISTORIES = 100_000
# Seeds that one worker takes at a time, and how often the count is told.
CHUNK = 50
TELL_SECONDS = 60.0
# A bug breaks many histories; the first few say what it is.
SHRUNK = 3


def tonight() -> int:
    """The first seed of tonight's histories: every night looks at others."""
    return int(time.strftime("%Y%m%d")) * 1_000_000


def shrink(seed: int, parts: Parts | None = None) -> tuple[Broken, list[str]]:
    """How the history of ``seed`` breaks when it goes without all that it can go without, and what that is."""
    without: list[str] = []
    broken = _break(seed, without, parts)
    assert broken is not None, f"seed {seed} is not broken"
    shape = Shape()
    pieces = [f"fault{number}" for number in range(shape.faults)] + [f"job{number}" for number in range(shape.jobs)]
    # Once more from the start: what a piece was needed for may be gone by then.
    for piece in pieces * 2:
        smaller = _break(seed, [*without, piece], parts) if piece not in without else None
        if smaller is not None:
            broken = smaller
            without.append(piece)
    return broken, without


def _break(seed: int, without: list[str], parts: Parts | None = None) -> Broken | None:
    try:
        run(seed, parts, without=without)
    except Broken as broken:
        return broken
    return None


def search(first: int, histories: int, workers: int) -> int:
    """Play ``histories`` from seed ``first`` on, tell how it goes, and shrink the first broken ones; how many broke."""
    began, told, played = time.monotonic(), time.monotonic(), 0
    broken: list[int] = []
    seeds = range(first, first + histories)
    chunks = [seeds[start : start + CHUNK] for start in range(0, histories, CHUNK)]
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        for number, found in pool.imap_unordered(_play, chunks):
            played += number
            for seed, message in found:
                print(message, flush=True)
                broken.append(seed)
            now = time.monotonic()
            if now - told > TELL_SECONDS or played == histories:
                told = now
                rate = played / (now - began)
                print(f"{played} of {histories} histories, {len(broken)} broken, {rate:.0f} a second", flush=True)
    for line in _shrunk(sorted(broken)[:SHRUNK]):
        print(line)
    return len(broken)


def _play(seeds: range) -> tuple[int, list[tuple[int, str]]]:
    found = []
    for seed in seeds:
        broken = _break(seed, [])
        if broken is not None:
            found.append((seed, str(broken)))
    return len(seeds), found


def _shrunk(seeds: list[int]) -> Iterator[str]:
    for seed in seeds:
        broken, without = shrink(seed)
        yield f"smaller: {broken}"
        yield f"  python -m tests.sim --verbose --seed {seed} --without {','.join(without) or 'nothing'}"


def cores() -> int:
    """How many histories can be played at a time."""
    return len(os.sched_getaffinity(0))
