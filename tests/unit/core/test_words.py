"""How amounts and names are written for people."""

from __future__ import annotations

import pytest

from coordinator.core.gpus import GB, in_gb
from coordinator.core.words import several, usd


@pytest.mark.parametrize(
    ("amount", "said"),
    [
        (0.0, "0.00 USD"),
        (50.016, "50.02 USD"),
        (0.05, "0.050 USD"),
        (0.0000085, "0.0000085 USD"),
        (-0.002, "-0.0020 USD"),
    ],
)
def test_small_amounts_of_money_have_two_digits_that_count(amount: float, said: str) -> None:
    assert usd(amount) == said


@pytest.mark.parametrize(
    ("size", "said"), [(1.5, "1.5 GB"), (23.456, "23.5 GB"), (999.7, "1000 GB"), (5120, "5120 GB")]
)
def test_large_memories_are_written_out(size: float, said: str) -> None:
    assert in_gb(int(size * GB)) == said


@pytest.mark.parametrize(
    ("names", "between", "said"),
    [
        ("a", ", ", "a"),
        ("ab", ", ", "a, b"),
        ("abc", ", ", "a, b and 1 more"),
        ("abcd", "; ", "a; b; and 2 more"),
    ],
)
def test_of_many_the_first_are_named_and_the_others_counted(names: str, between: str, said: str) -> None:
    assert several(names, 2, between) == said
