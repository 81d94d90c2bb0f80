"""What the kernel `chaos` must give, calculated on the CPU to the last bit. Pure, and of the standard library alone."""

from __future__ import annotations

import math
import struct

LANES = 32


def chaos(rounds: int) -> bytes:
    """The 32 sums that each warp gives after so many rounds, as 32-bit words, little-endian."""
    factor, first = single(-1.9), single(0.1)
    values, sums = [single(lane / 64 + first) for lane in range(LANES)], [0] * LANES
    for _ in range(rounds):
        values = [_fused(single(value * value), factor) for value in values]
        words = struct.unpack(f"<{LANES}I", struct.pack(f"<{LANES}f", *values))
        # An odd factor: what once differs goes on to differ.
        sums = [(before * 1664525 + word) & 0xFFFFFFFF for before, word in zip(sums, words, strict=True)]
    return struct.pack(f"<{LANES}I", *sums)


def single(value: float) -> float:
    """``value`` rounded to binary32."""
    rounded: float = struct.unpack("<f", struct.pack("<f", value))[0]
    return rounded


def _fused(value: float, factor: float) -> float:
    """``value * factor + 1`` with one rounding to binary32. The product is exact in binary64; the sum may not be."""
    product = value * factor
    total = product + 1.0
    # What the sum's own rounding left out (Knuth): it counts where it left a number half-way between two others.
    back = total - product
    lost = (product - (total - back)) + (1.0 - back)
    if lost and struct.unpack("<Q", struct.pack("<d", total))[0] & 0x1FFFFFFF == 0x10000000:
        total = math.nextafter(total, math.inf if lost > 0 else -math.inf)
    return single(total)
