"""A product of matrices by torch, where this Python has it: what training does most, with a result that is known."""

from __future__ import annotations

import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

SIZE = 8192
# Whole numbers up to this: sums of products stay far below what binary32 and bfloat16's sums hold exactly.
LARGEST = 3


def serves() -> bool:
    """Whether torch is here and finds a GPU."""
    try:
        import torch
    except ImportError:
        return False
    return bool(torch.cuda.is_available())


def run(deadline: float, device: str = "cuda", size: int = SIZE) -> Iterator[dict[str, Any]]:
    """Multiply until ``deadline`` (monotonic); each kind of number once at least."""
    import torch

    # Else partial sums may be rounded to bfloat16 before they are added up.
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False
    kinds = (("fp32", torch.float32), ("bf16", torch.bfloat16))
    for left, (name, kind) in zip((2, 1), kinds, strict=True):
        yield multiply(torch, name, kind, time.monotonic() + (deadline - time.monotonic()) / left, device, size)


def multiply(torch: Any, name: str, kind: Any, until: float, device: str, size: int) -> dict[str, Any]:
    numbers = torch.Generator().manual_seed(1)
    a, b = (torch.randint(-LARGEST, LARGEST + 1, (size, size), generator=numbers) for _ in range(2))
    # The CPU knows a few rows, exactly; all the rest must be the same each time.
    rows = torch.arange(0, size, max(1, size // 16))
    known = (a[rows].double() @ b.double()).to(kind)
    left, right = a.to(device, kind), b.to(device, kind)
    first = left @ right
    errors = int((first[rows.to(device)].cpu() != known).sum())
    products, began = 0, time.monotonic()
    while products < 2 or time.monotonic() < until:
        errors += int((left @ right != first).sum())
        products += 1
    flops = 2.0 * size**3 * products / (time.monotonic() - began)
    return {"work": f"matmul {name}", "errors": errors, "figure": round(flops / 1e12, 2), "unit": "TFLOP/s"}
