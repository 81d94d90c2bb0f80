"""The test of the tests: each of six bugs, planted in production's place, is found within a few hundred histories."""

from __future__ import annotations

import pytest

from tests.sim.history import Broken, run
from tests.sim.plants import PLANTS
from tests.sim.world import Parts

ENOUGH = 300

WORDS = {
    "a skipped fence": r"is freed while it runs|said to have ended|is changed to|on its host's disk",
    "a GPU freed early": r"is freed while it runs",
    "an acknowledgement before the commit": r"acknowledged",
    "a forgotten end": r"no end in|a second time|on its host's disk",
    "a gang started in part": r"starts before rank \d+ was prepared",
    "a node tried twice at once": r"is freed while it runs|is given up",
}


@pytest.mark.timeout(120)
@pytest.mark.parametrize("bug", PLANTS)
def test_a_planted_bug_is_found(bug: str) -> None:
    with pytest.raises(Broken, match=WORDS[bug]):
        _look_for(PLANTS[bug])


def _look_for(parts: Parts) -> None:
    for seed in range(ENOUGH):
        run(seed, parts)
