"""Multiply matrices in the precision of this node's variant and report how fast and how exact that is.

On a GPU torch computes, in the type that its precision names; elsewhere NumPy does, rounding to as few bits.
"""

import os
import time
from typing import Any

import numpy as np

# Set for every node. The defaults let you try the script by hand: python3 variants.py
RANK = int(os.environ.get("DSTACK_NODE_RANK", "0"))
VARIANT = os.environ.get("RALLYPOINT_VARIANT", "cpu")
PRECISION = os.environ.get("RALLYPOINT_PRECISION", "fp32")
STEPS = int(os.environ.get("STEPS", "200"))
SIZE = 256

MANTISSA_BITS = {"fp8": 3, "bf16": 7, "fp16": 10, "fp32": 23}


def rounded(values: np.ndarray, bits: int) -> np.ndarray:
    """The values with so many bits after the leading one, as a number of that precision keeps them."""
    parts, exponents = np.frexp(values)
    return np.ldexp(np.round(parts * 2 ** (bits + 1)) / 2 ** (bits + 1), exponents)


def on_cpu(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The product of rounded matrices."""
    bits = MANTISSA_BITS[PRECISION]
    return rounded(left, bits) @ rounded(right, bits)


def on_gpu(torch: Any, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The product on this node's GPU."""
    kinds = {"fp8": torch.float8_e4m3fn, "bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
    # torch multiplies 8-bit numbers only with scales of their own: rounded to them, they go as 16 bits.
    least = {"fp8": torch.bfloat16}.get(PRECISION, kinds[PRECISION])
    a, b = (torch.asarray(each, device="cuda").to(kinds[PRECISION]).to(least) for each in (left, right))
    return np.asarray((a @ b).float().cpu())


def torch_with_gpu() -> Any:
    """torch, if this node was given a GPU that torch can use."""
    if os.environ.get("CUDA_VISIBLE_DEVICES"):  # empty when the node was given no GPU
        try:
            import torch
        except ImportError:
            return None
        return torch if torch.cuda.is_available() else None
    return None


def main() -> None:
    random = np.random.default_rng(RANK)
    torch, worst = torch_with_gpu(), 0.0
    started = time.monotonic()
    for _ in range(STEPS):
        left, right = random.normal(size=(2, SIZE, SIZE)) / SIZE**0.5
        found = on_cpu(left, right) if torch is None else on_gpu(torch, left, right)
        worst = max(worst, float(np.abs(found - left @ right).max()))
    rate = STEPS / (time.monotonic() - started)
    where = "cpu" if torch is None else torch.cuda.get_device_name().replace(" ", "-")
    speed = f"products_per_second {rate:.0f} error {worst:.6f}"
    print(f"precision {PRECISION} variant {VARIANT} on {where} {speed}", flush=True)


if __name__ == "__main__":
    main()
