"""Read one shard of handwritten digits with a trained model and write what was read."""

import os
import socket
import sys
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.datasets import load_digits

# Set for every node. The defaults let you try the script by hand: python3 batch_inference.py
RANK = int(os.environ.get("DSTACK_NODE_RANK", "0"))
NODES = int(os.environ.get("DSTACK_NODES_NUM", "1"))
MODEL = Path(os.environ.get("MODEL", "~/rallypoint-results/model.npz")).expanduser()
RESULTS_DIR = Path(os.environ.get("RESULTS_DIR", "~/rallypoint-results/batch-inference")).expanduser()
NO_MODEL = 66  # the exit code of this script when the model file is not there (EX_NOINPUT of sysexits.h)


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


def read_digits(model: Any, images: np.ndarray, xp: Any, put: Any) -> np.ndarray:
    """Return the digit (0 to 9) that the model reads in each image."""
    hidden = xp.cos(put(images / 16) @ put(model["weights"]) + put(model["shift"]))
    return np.array((hidden @ put(model["readout"])).argmax(1).tolist(), dtype=int)


def write_atomically(target: Path, lines: list[str]) -> None:
    """Write the whole file or nothing: no reader sees half of it, and a second try of this node replaces the first."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_suffix(f".{os.getpid()}.tmp")
    partial.write_text("".join(f"{line}\n" for line in lines))
    partial.replace(target)


def main() -> None:
    if not MODEL.is_file():
        host = socket.gethostname()
        print(
            f"no model file {MODEL} on host {host}; run train-model.yml with a MODEL that this host sees",
            file=sys.stderr,
        )
        sys.exit(NO_MODEL)

    images, labels = load_digits(return_X_y=True)
    rows = np.arange(1, len(images), 2)[
        RANK::NODES
    ]  # of the odd images, which the training never saw, this node's shard
    with np.load(MODEL) as model:
        digits = read_digits(model, images[rows], *gpu_or_cpu())

    target = RESULTS_DIR / f"shard-{RANK:04d}-of-{NODES:04d}.csv"
    write_atomically(target, ["image,digit"] + [f"{row},{digit}" for row, digit in zip(rows, digits, strict=True)])
    right = int((digits == labels[rows]).sum())
    print(f"rank {RANK} of {NODES} images {len(rows)} right {right} file {target}", flush=True)


if __name__ == "__main__":
    main()
