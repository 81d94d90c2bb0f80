"""The `any` examples, each node run on its own with only what such a node is told."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from statistics import NormalDist

import pytest

from tests.unit.examples.nodes import EXAMPLES, LIMIT, example, numbers, require_module

IMAGES = 1797  # in scikit-learn's handwritten digits


@pytest.fixture
def digits() -> None:
    require_module("numpy, sklearn", "numpy scikit-learn")


@pytest.mark.usefixtures("digits")
def test_shards_are_disjoint_and_complete(tmp_path: Path) -> None:
    task = example("any/shards.yml", tmp_path)
    ended = [task.run(rank, 3, RESULTS_DIR=str(tmp_path / "out")) for rank in range(3)]

    assert [node.code for node in ended] == [0, 0, 0]
    lines = [numbers(node.out) for node in ended]
    assert sum(int(line["images"]) for line in lines) == IMAGES
    assert sum(int(line["ink"]) for line in lines) == 561718  # of all pixels of the data set
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        f"shard-{rank:04d}-of-0003.npz" for rank in range(3)
    ]


@pytest.mark.usefixtures("digits")
def test_shard_holds_the_features_of_its_images(tmp_path: Path) -> None:
    import numpy as np

    ended = example("any/shards.yml", tmp_path).run(1, 2)

    path = tmp_path / "rallypoint-results" / "shards" / "shard-0001-of-0002.npz"
    assert numbers(ended.out)["file"] == str(path)
    with np.load(path) as shard:
        assert shard["features"].shape == (898, 20)
        assert len(shard["labels"]) == 898
        # The rows, the columns, the upper and lower, and the left and right halves each hold all of an image's ink.
        ink = [shard["features"][:, part].sum(axis=1) for part in np.split(np.arange(20), [8, 16, 18])]
        assert all((other == ink[0]).all() for other in ink)


@pytest.mark.usefixtures("digits")
def test_search_gives_each_rank_its_own_point_and_the_same_one_again(tmp_path: Path) -> None:
    task = example("any/search.yml", tmp_path)
    first, second, again = (task.run(rank, 24).out for rank in (11, 3, 11))

    assert first == again != second
    line = numbers(first)
    assert float(line["accuracy"]) > 0.95
    result = json.loads((tmp_path / "rallypoint-results" / "search" / "rank-0011.json").read_text())
    assert result["rank"] == 11
    assert f"{result['accuracy']:.4f}" == line["accuracy"]


@pytest.mark.usefixtures("digits")
def test_a_sweep_gives_each_rank_its_parameters(tmp_path: Path) -> None:
    task = example("any/sweep.yml", tmp_path)
    told = [numbers(task.run(rank, 15).out) for rank in (0, 14)]

    assert [(line["features"], line["ridge"], line["seed"]) for line in told] == [
        ("200", "0.01", "1"),
        ("800", "1", "3"),
    ]
    assert all(float(line["accuracy"]) > 0.95 for line in told)
    results = tmp_path / "rallypoint-results" / "sweep"
    assert sorted(path.name for path in results.iterdir()) == [
        "features-200-ridge-0.01-seed-1.json", "features-800-ridge-1-seed-3.json"
    ]  # fmt: skip


def test_a_variants_precision_is_what_the_node_computes_in(tmp_path: Path) -> None:
    require_module("numpy", "numpy")
    task = example("any/variants.yml", tmp_path)
    errors = []
    for variant, precision in (("h100", "fp8"), ("a100", "bf16"), ("t4", "fp16"), ("cpu", "fp32")):
        ended = task.run(0, 24, RALLYPOINT_VARIANT=variant, RALLYPOINT_PRECISION=precision, STEPS="2")
        line = numbers(ended.out)
        assert (line["precision"], line["variant"], line["on"]) == (precision, variant, "cpu"), ended.err
        errors.append(float(line["error"]))
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 100 * errors[2] > 0


def test_monte_carlo_agrees_with_the_closed_form(tmp_path: Path) -> None:
    ended = [example("any/monte-carlo.yml", tmp_path).run(rank, 4) for rank in range(4)]

    lines = [numbers(node.out) for node in ended]
    prices = [float(line["price"]) for line in lines]
    error = math.hypot(*(float(line["error"]) for line in lines)) / len(lines)
    assert len(set(prices)) == 4
    assert sum(prices) / 4 == pytest.approx(black_scholes_call(100, 105, 0.03, 0.2, 1), abs=4 * error)
    assert len(list((tmp_path / "rallypoint-results" / "monte-carlo").iterdir())) == 4


@pytest.mark.usefixtures("digits")
def test_inference_uses_the_model_that_training_made(tmp_path: Path) -> None:
    model = str(tmp_path / "models" / "digits.npz")
    trained = example("any/train-model.yml", tmp_path).run(MODEL=model)
    assert trained.code == 0
    assert numbers(trained.out)["model"] == model

    ended = [example("any/batch-inference.yml", tmp_path).run(rank, 2, MODEL=model) for rank in range(2)]

    lines = [numbers(node.out) for node in ended]
    assert sum(int(line["images"]) for line in lines) == IMAGES // 2
    assert sum(int(line["right"]) for line in lines) / (IMAGES // 2) > 0.97
    header, *rows = Path(lines[0]["file"]).read_text().splitlines()
    assert header == "image,digit"
    assert len(rows) == int(lines[0]["images"])


@pytest.mark.usefixtures("digits")
def test_inference_without_a_model_says_so_in_one_line(tmp_path: Path) -> None:
    ended = example("any/batch-inference.yml", tmp_path).run(MODEL="/nowhere/model.npz")

    assert ended.code == 66
    assert ended.out == ""
    assert ended.err.startswith("no model file /nowhere/model.npz on host ")
    assert ended.err.count("\n") == 1
    assert "train-model.yml" in ended.err


# What a node with a GPU runs, but with torch on the CPU: all of that way except the device's name.
TORCH_AGREES = """
import batch_inference, monte_carlo, numpy, search, shards, torch, train_model

def report(what, one, other):
    print(what, float(abs(one - other)))

point = search.pick_point(1, 11)
report("search", search.accuracy(point, torch, torch.asarray), search.accuracy(point, numpy, numpy.asarray))

images, labels = train_model.load_digits(return_X_y=True)
matrix = shards.feature_matrix()
report("shards", (torch.asarray(images) @ torch.asarray(matrix)).sum(), (images @ matrix).sum())

model = train_model.train(images, labels, torch, torch.asarray)
by_torch = batch_inference.read_digits(model, images, torch, torch.asarray)
by_numpy = batch_inference.read_digits(model, images, numpy, numpy.asarray)
report("inference", (by_torch != by_numpy).sum(), 0)

by_torch = monte_carlo.payoff_sums_torch(1200000, 1, "cpu")[0] / 1200000
report("monte_carlo", by_torch / (monte_carlo.payoff_sums(200000, 1)[0] / 200000), 1)
"""


@pytest.mark.usefixtures("digits")
def test_torch_computes_the_same() -> None:
    require_module("torch", "torch")
    ended = subprocess.run(
        [sys.executable, "-c", TORCH_AGREES],
        cwd=EXAMPLES / "any",
        env={"OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    differences = {name: float(value) for name, value in (line.split() for line in ended.stdout.splitlines())}
    assert differences.pop("monte_carlo") < 0.02  # other random numbers: four standard errors
    assert differences == pytest.approx({"search": 0, "shards": 0, "inference": 0}, abs=1e-6)


def black_scholes_call(spot: float, strike: float, rate: float, volatility: float, years: float) -> float:
    """Return the exact price of the option that the Monte Carlo example estimates."""
    spread = volatility * math.sqrt(years)
    near = (math.log(spot / strike) + (rate + volatility**2 / 2) * years) / spread
    normal = NormalDist().cdf
    return spot * normal(near) - strike * math.exp(-rate * years) * normal(near - spread)
