"""Train on the handwritten digits at one random point of the search space and report how good it is.

The model is kernel ridge regression with random features: two matrix products and one linear system.
"""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.datasets import load_digits

# Set for every node. The defaults let you try the script by hand: python3 search.py
RANK = int(os.environ.get("DSTACK_NODE_RANK", "0"))
NODES = int(os.environ.get("DSTACK_NODES_NUM", "1"))
SEED = int(os.environ.get("SEED", "1"))
RESULTS_DIR = Path(os.environ.get("RESULTS_DIR", "~/rallypoint-results/search")).expanduser()


def gpu_or_cpu() -> tuple[Any, Any]:
    """Return the array module and how to move a NumPy array to it: torch on this node's GPU, else NumPy itself."""
    if os.environ.get("CUDA_VISIBLE_DEVICES"):  # empty when the node was given no GPU
        try:
            import torch
        except ImportError:
            return np, np.asarray
        if torch.cuda.is_available():
            return torch, lambda array: torch.asarray(array, device="cuda")
    return np, np.asarray


def pick_point(seed: int, rank: int) -> dict[str, float]:
    """Return this rank's point: the same at every try of the node, another for every rank."""
    random = np.random.default_rng([seed, rank])
    return {
        "features": int(random.choice([100, 200, 400, 800])),
        "gamma": float(10 ** random.uniform(-2.5, 0.0)),
        "ridge": float(10 ** random.uniform(-3.0, 2.0)),
    }


def accuracy(point: dict[str, float], xp: Any, put: Any) -> float:
    """Train on the even images, test on the odd ones; return the share (0 to 1) of digits read rightly."""
    images, labels = load_digits(return_X_y=True)
    random = np.random.default_rng(0)
    width = int(point["features"])
    weights = put(random.normal(size=(64, width)) * np.sqrt(2 * point["gamma"]))
    shift = put(random.uniform(0, 2 * np.pi, size=width))

    train = xp.cos(put(images[0::2] / 16) @ weights + shift)
    one_hot = put(np.eye(10)[labels[0::2]])
    readout = xp.linalg.solve(train.T @ train + point["ridge"] * put(np.eye(width)), train.T @ one_hot)

    test = xp.cos(put(images[1::2] / 16) @ weights + shift)
    right = (test @ readout).argmax(1) == put(labels[1::2])
    return float(right.sum()) / len(right)


def write_atomically(target: Path, result: dict[str, Any]) -> None:
    """Write the whole file or nothing: no reader sees half of it, and a second try of this node replaces the first."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_suffix(f".{os.getpid()}.tmp")
    partial.write_text(json.dumps(result) + "\n")
    partial.replace(target)


def main() -> None:
    point = pick_point(SEED, RANK)
    found = accuracy(point, *gpu_or_cpu())
    write_atomically(RESULTS_DIR / f"rank-{RANK:04d}.json", {"rank": RANK, "accuracy": found, **point})
    words = " ".join(f"{name}={value:.6g}" for name, value in point.items())
    print(f"accuracy {found:.4f} rank {RANK} of {NODES} {words}", flush=True)


if __name__ == "__main__":
    main()
