"""Compute features of one shard of the handwritten-digits images and write them to a file of this node's own."""

import os
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.datasets import load_digits

# Set for every node. The defaults let you try the script by hand: python3 shards.py
RANK = int(os.environ.get("DSTACK_NODE_RANK", "0"))
NODES = int(os.environ.get("DSTACK_NODES_NUM", "1"))
RESULTS_DIR = Path(os.environ.get("RESULTS_DIR", "~/rallypoint-results/shards")).expanduser()


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


def feature_matrix() -> np.ndarray:
    """Return what turns images into features by one product: the ink of 8 rows, 8 columns and the 4 halves."""
    row, column = np.divmod(np.arange(64), 8)
    rows = row[:, None] == np.arange(8)
    columns = column[:, None] == np.arange(8)
    halves = np.stack([row < 4, row >= 4, column < 4, column >= 4], axis=1)
    return np.hstack([rows, columns, halves]).astype(float)


def write_atomically(target: Path, features: np.ndarray, labels: np.ndarray) -> None:
    """Write the whole file or nothing: no reader sees half of it, and a second try of this node replaces the first."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_suffix(f".{os.getpid()}.tmp")
    with partial.open("wb") as file:
        np.savez(file, features=features, labels=labels)
    partial.replace(target)


def main() -> None:
    images, labels = load_digits(return_X_y=True)
    mine = slice(RANK, None, NODES)  # every NODES-th image, starting at RANK: shards are disjoint and complete
    images, labels = images[mine], labels[mine]

    _, put = gpu_or_cpu()
    features = np.array((put(images) @ put(feature_matrix())).tolist())

    target = RESULTS_DIR / f"shard-{RANK:04d}-of-{NODES:04d}.npz"
    write_atomically(target, features, labels)
    print(f"rank {RANK} of {NODES} images {len(images)} ink {images.sum():.0f} file {target}", flush=True)


if __name__ == "__main__":
    main()
