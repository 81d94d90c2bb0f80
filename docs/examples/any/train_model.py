"""Train a reader of handwritten digits on half of the images and keep it in one small file."""

import os
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.datasets import load_digits

MODEL = Path(os.environ.get("MODEL", "~/rallypoint-results/model.npz")).expanduser()
FEATURES, GAMMA, RIDGE = 800, 0.05, 1.0  # a good point found by search.yml

Model = dict[str, np.ndarray]  # weights and shift give the random features, readout the digits from them


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


def train(images: np.ndarray, labels: np.ndarray, xp: Any, put: Any) -> Model:
    """Fit kernel ridge regression with random features."""
    random = np.random.default_rng(0)
    weights = random.normal(size=(64, FEATURES)) * np.sqrt(2 * GAMMA)
    shift = random.uniform(0, 2 * np.pi, size=FEATURES)
    hidden = xp.cos(put(images / 16) @ put(weights) + put(shift))
    one_hot = put(np.eye(10)[labels])
    readout = xp.linalg.solve(hidden.T @ hidden + RIDGE * put(np.eye(FEATURES)), hidden.T @ one_hot)
    return {"weights": weights, "shift": shift, "readout": np.array(readout.tolist())}


def write_atomically(target: Path, model: Model) -> None:
    """Write the whole file or nothing: inference never reads half a model."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_suffix(f".{os.getpid()}.tmp")
    with partial.open("wb") as file:
        np.savez(file, weights=model["weights"], shift=model["shift"], readout=model["readout"])
    partial.replace(target)


def main() -> None:
    images, labels = load_digits(return_X_y=True)
    # The odd images are left for batch_inference.py: what it reads there, the model has never seen.
    write_atomically(MODEL, train(images[0::2], labels[0::2], *gpu_or_cpu()))
    print(f"model {MODEL} bytes {MODEL.stat().st_size} images {len(images[0::2])}", flush=True)


if __name__ == "__main__":
    main()
