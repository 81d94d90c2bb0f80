"""Train on the handwritten digits with the parameters of this node and report how good it is.

The model is kernel ridge regression with random features: two matrix products and one linear system.
"""

import argparse
import json
import os
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

GAMMA = 0.02
RESULTS_DIR = Path(os.environ.get("RESULTS_DIR", "~/rallypoint-results/sweep")).expanduser()


def accuracy(features: int, ridge: float, seed: int) -> float:
    """Train on the even images, test on the odd ones; return the share (0 to 1) of digits read rightly."""
    images, labels = load_digits(return_X_y=True)
    random = np.random.default_rng(seed)
    weights = random.normal(size=(64, features)) * np.sqrt(2 * GAMMA)
    shift = random.uniform(0, 2 * np.pi, size=features)

    train = np.cos(images[0::2] / 16 @ weights + shift)
    readout = np.linalg.solve(train.T @ train + ridge * np.eye(features), train.T @ np.eye(10)[labels[0::2]])
    test = np.cos(images[1::2] / 16 @ weights + shift)
    return float(np.mean((test @ readout).argmax(1) == labels[1::2]))


def main() -> None:
    # The defaults let you try the script by hand: python3 sweep.py
    parser = argparse.ArgumentParser()
    parser.add_argument("--features", type=int, default=200)
    parser.add_argument("--ridge", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()

    found = accuracy(asked.features, asked.ridge, asked.seed)
    # The parameters name the file: a second try of this node replaces what the first one wrote.
    target = RESULTS_DIR / f"features-{asked.features}-ridge-{asked.ridge:g}-seed-{asked.seed}.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_suffix(f".{os.getpid()}.tmp")
    partial.write_text(json.dumps({**vars(asked), "accuracy": found}) + "\n")
    partial.replace(target)
    print(f"accuracy {found:.4f} features {asked.features} ridge {asked.ridge:g} seed {asked.seed}", flush=True)


if __name__ == "__main__":
    main()
