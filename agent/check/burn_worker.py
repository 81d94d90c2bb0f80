"""Works one GPU and checks all that it gives back. A process of its own: a GPU that is ill may hold it for ever.

Run by `agent.check.burn` as a file, in the agent's Python or in one that has torch, so that it needs nothing but the
standard library and the files beside it. The GPU is the first that the process may see. It reads one JSON line,
``{"seconds": 60, "torch": false}``, and writes JSON lines: one for each kind of work, when it is done,
``{"work": "memory", "errors": 0, …}``; last ``{"done": true}``, with ``{"impossible": WHY}`` before it where there is
no CUDA.
"""

from __future__ import annotations

import json
import os
import struct
import sys
import time
from ctypes import c_uint32, c_uint64

TYPE_CHECKING = False
if TYPE_CHECKING or __name__ != "__main__":
    from agent.check import arithmetic, burn_torch, cuda_driver, kernels
else:
    # Last, so that none of our files passes for one of the standard library's.
    sys.path.append(os.path.dirname(__file__))
    import arithmetic
    import burn_torch
    import cuda_driver
    import kernels

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

KNOWN_ROUNDS = 400
# Long enough that calls cost nothing beside them, short enough that a display or a kill never waits.
LONGEST_LAUNCH, LEAST_LAUNCHES = 0.1, 40
BLOCKS_EACH = 8
# Seeds of the patterns; each is tried with all its bits the other way round, too.
SEEDS = (0x00000000, 0xAAAAAAAA, 0x5A5AA5A5, 0xDEADBEEF)
# Of the free memory; contexts and the driver need a little.
MEMORY_SHARE = 0.92
CHUNK = 1 << 30
NOWHERE = 0xFFFFFFFFFFFFFFFF


class Burn:
    """The work of one GPU for a time; ``say`` gets each kind's result."""

    def __init__(self, cuda: cuda_driver.Cuda, deadline: float) -> None:
        self.cuda = cuda
        self.deadline = deadline
        self.launch = min(LONGEST_LAUNCH, max(0.0, deadline - time.monotonic()) / LEAST_LAUNCHES)
        self.blocks = cuda.multiprocessors * BLOCKS_EACH
        self.threads = self.blocks * cuda_driver.THREADS
        self.main = cuda.load(kernels.MAIN)
        # Before memory is filled: its results must not lie where a pattern goes.
        self.out = cuda.allocate(self.threads * 4)
        self.found = cuda.allocate(24)

    def run(self) -> Iterator[dict[str, Any]]:
        """Memory, arithmetic units, tensor units, each for a third of the time and once at least."""
        left = max(0.0, self.deadline - time.monotonic())
        yield self.memory(time.monotonic() + left / 3)
        yield self.chaos(time.monotonic() + left / 3)
        tensor = self.tensor()
        if tensor is not None:
            yield tensor

    # --- memory -----------------------------------------------------------------------------------------------------

    def memory(self, until: float) -> dict[str, Any]:
        chunks = self.take_memory()
        size = sum(size for _, size in chunks)
        errors, first, bits, passes, moved, started = 0, None, 0, 0, 0, time.monotonic()
        while passes < 2 or time.monotonic() < until:
            seed = SEEDS[passes // 2 % len(SEEDS)] ^ (0xFFFFFFFF if passes % 2 else 0)
            for address, length in chunks:
                self.fill(address, length, seed)
            for number, (address, length) in enumerate(chunks):
                wrong, place, differing = self.verify(address, length, seed)
                if wrong and first is None:
                    first = number * CHUNK + place * 4
                errors, bits = errors + wrong, bits | differing
            passes, moved = passes + 1, moved + 2 * size
        seconds = time.monotonic() - started
        for address, _ in chunks:
            self.cuda.release(address)
        told = {"work": "memory", "bytes": size, "passes": passes, "errors": errors}
        if errors:
            told |= {"detail": f"first at byte {first:#x} of the free memory, in bits {bits:#010x}"}
        return {**told, "figure": round(moved / seconds / 1e9, 1), "unit": "GB/s"}

    def take_memory(self) -> list[tuple[int, int]]:
        """Most of the free memory, in pieces: addresses and lengths in bytes."""
        taken, left = [], int(self.cuda.free_memory() * MEMORY_SHARE) // 4096 * 4096
        while left > 0:
            size = min(CHUNK, left)
            try:
                taken.append((self.cuda.allocate(size), size))
            except cuda_driver.CudaError:
                # Free in all, but not in one piece, or another program was quicker.
                break
            left -= size
        return taken

    def fill(self, address: int, length: int, seed: int) -> None:
        self.main.run("fill", self.blocks, c_uint64(address), c_uint64(length // 4), c_uint32(seed))

    def verify(self, address: int, length: int, seed: int) -> tuple[int, int, int]:
        """How many words are wrong, the first of them, and in which bits."""
        self.cuda.write(self.found, struct.pack("<QQQ", 0, NOWHERE, 0))
        words = c_uint64(length // 4)
        self.main.run("verify", self.blocks, c_uint64(address), words, c_uint32(seed), c_uint64(self.found))
        wrong, place, bits = struct.unpack("<QQQ", self.cuda.read(self.found, 24))
        return wrong, place, bits

    # --- arithmetic -------------------------------------------------------------------------------------------------

    def chaos(self, until: float) -> dict[str, Any]:
        """First what the CPU knows the result of, then much more, in which all threads and all times must agree."""
        copies = self.threads // arithmetic.LANES
        expected = arithmetic.chaos(KNOWN_ROUNDS)
        errors = different(self.work(self.main, "chaos", KNOWN_ROUNDS), expected * copies)
        rounds = self.calibrated(self.main, "chaos")
        first = self.work(self.main, "chaos", rounds)
        same = first[: len(expected)] * copies
        launches, spent = 0, 0.0
        while launches < 2 or time.monotonic() < until:
            began = time.monotonic()
            result = self.work(self.main, "chaos", rounds)
            spent += time.monotonic() - began
            errors += different(result, same)
            launches += 1
        flops = 3.0 * self.threads * rounds * launches / spent
        return {"work": "arithmetic", "errors": errors, "figure": round(flops / 1e12, 2), "unit": "TFLOP/s (fp32)"}

    def tensor(self) -> dict[str, Any] | None:
        """Sums that are exact; None on cards from before Ampere, or where the driver does not know the instruction."""
        if self.cuda.capability < (8, 0):
            return None
        try:
            module = self.cuda.load(kernels.TENSOR)
        except cuda_driver.CudaError:
            return None
        # Up to here sums are exact in binary32.
        rounds = min(self.calibrated(module, "tensor"), (1 << 24) // kernels.TENSOR_ROUND)
        expected = struct.pack("<f", kernels.TENSOR_ROUND * rounds) * self.threads
        launches, errors, spent = 0, 0, 0.0
        while launches < 2 or time.monotonic() < self.deadline:
            began = time.monotonic()
            result = self.work(module, "tensor", rounds)
            spent += time.monotonic() - began
            errors += different(result, expected)
            launches += 1
        flops = kernels.TENSOR_FLOPS * (self.threads / 32) * rounds * launches / spent
        return {"work": "tensor", "errors": errors, "figure": round(flops / 1e12, 1), "unit": "TFLOP/s (fp16)"}

    def calibrated(self, module: cuda_driver.Module, name: str) -> int:
        """How many rounds a launch shall have."""
        rounds, seconds = 1000, 0.0
        while seconds < self.launch / 10 and rounds < 1 << 26:
            rounds *= 4
            began = time.monotonic()
            self.work(module, name, rounds)
            seconds = time.monotonic() - began
        return max(1000, int(rounds * self.launch / max(seconds, 1e-6)))

    def work(self, module: cuda_driver.Module, name: str, rounds: int) -> bytes:
        module.run(name, self.blocks, c_uint64(self.out), c_uint32(rounds))
        return self.cuda.read(self.out, self.threads * 4)


def different(result: bytes, expected: bytes) -> int:
    """How many words of four bytes are not what they must be."""
    if result == expected:
        return 0
    return sum(result[i : i + 4] != expected[i : i + 4] for i in range(0, len(expected), 4))


def say(told: dict[str, Any]) -> None:
    print(json.dumps(told), flush=True)


def main() -> None:
    """Do what standard input says."""
    order = json.loads(sys.stdin.readline())
    deadline = time.monotonic() + float(order["seconds"])
    try:
        if order.get("torch") and burn_torch.serves():
            for told in burn_torch.run((time.monotonic() + deadline) / 2):
                say(told)
        for told in Burn(cuda_driver.Cuda(), deadline).run():
            say(told)
    except cuda_driver.NoCuda as error:
        say({"impossible": str(error)})
    except cuda_driver.CudaError as error:
        say({"work": "cuda", "errors": 1, "detail": str(error)})
    say({"done": True})


if __name__ == "__main__":
    main()
