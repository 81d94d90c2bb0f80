"""Estimate the price of a European call option from this node's own random paths. Needs nothing but Python."""

import json
import math
import os
import random
from pathlib import Path

# Set for every node. The defaults let you try the script by hand: python3 monte_carlo.py
RANK = int(os.environ.get("DSTACK_NODE_RANK", "0"))
NODES = int(os.environ.get("DSTACK_NODES_NUM", "1"))
SEED = int(os.environ.get("SEED", "1"))
PATHS = int(os.environ.get("PATHS", "200000"))
RESULTS_DIR = Path(os.environ.get("RESULTS_DIR", "~/rallypoint-results/monte-carlo")).expanduser()

# The option: today's price of the share, strike, yearly interest, yearly volatility, years to go.
SPOT, STRIKE, RATE, VOLATILITY, YEARS = 100.0, 105.0, 0.03, 0.2, 1.0
DRIFT = (RATE - VOLATILITY**2 / 2) * YEARS
SPREAD = VOLATILITY * math.sqrt(YEARS)


def payoff_sums(paths: int, seed: int) -> tuple[float, float]:
    """Return the sum of the pay-offs of that many paths, and the sum of their squares."""
    draw = random.Random(seed).gauss
    total = squares = 0.0
    for _ in range(paths):
        payoff = max(0.0, SPOT * math.exp(DRIFT + SPREAD * draw(0.0, 1.0)) - STRIKE)
        total += payoff
        squares += payoff * payoff
    return total, squares


def payoff_sums_torch(paths: int, seed: int, device: str) -> tuple[float, float]:
    """The same with torch, a million paths at a time, on the device named."""
    import torch

    generator = torch.Generator(device).manual_seed(seed)
    total = squares = 0.0
    for done in range(0, paths, 1_000_000):
        count = min(1_000_000, paths - done)
        draws = torch.randn(count, generator=generator, device=device, dtype=torch.float64)
        payoffs = (SPOT * torch.exp(DRIFT + SPREAD * draws) - STRIKE).clamp(min=0.0)
        total += float(payoffs.sum())
        squares += float((payoffs * payoffs).sum())
    return total, squares


def gpu_given() -> bool:
    """Tell whether this node was given a GPU that torch can use."""
    if not os.environ.get("CUDA_VISIBLE_DEVICES"):  # empty when the node was given no GPU
        return False
    try:
        import torch
    except ImportError:
        return False
    return torch.cuda.is_available()


def write_atomically(target: Path, result: dict[str, float]) -> None:
    """Write the whole file or nothing: no reader sees half of it, and a second try of this node replaces the first."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_suffix(f".{os.getpid()}.tmp")
    partial.write_text(json.dumps(result) + "\n")
    partial.replace(target)


def main() -> None:
    seed = SEED * 1_000_003 + RANK  # every rank its own paths, the same ones when the node is tried again
    total, squares = payoff_sums_torch(PATHS, seed, "cuda") if gpu_given() else payoff_sums(PATHS, seed)

    mean = total / PATHS
    discount = math.exp(-RATE * YEARS)
    price = discount * mean
    error = discount * math.sqrt((squares / PATHS - mean**2) / PATHS)
    write_atomically(
        RESULTS_DIR / f"rank-{RANK:04d}.json",
        {"rank": RANK, "price": price, "standard_error": error, "paths": PATHS},
    )
    print(f"price {price:.6f} error {error:.6f} paths {PATHS} rank {RANK} of {NODES}", flush=True)


if __name__ == "__main__":
    main()
