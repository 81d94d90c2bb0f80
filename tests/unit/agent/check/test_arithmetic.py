"""What the CPU says the kernel must give is what IEEE 754 says, to the last bit."""

from __future__ import annotations

import math
import struct
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from agent.check import arithmetic
from agent.check.arithmetic import _fused, single
from tests.unit.agent.hardware.conftest import UNHURRIED

singles = st.floats(min_value=-1.0, max_value=1.0, width=32).map(abs)


def nearest(value: Fraction) -> float:
    """``value`` rounded to binary32 once, half-way cases to the even neighbour: by trying the neighbours."""
    guess = single(float(value))
    below, above = (math.nextafter(guess, way) for way in (-math.inf, math.inf))
    near = {guess, single(below - abs(guess) * 2**-24), single(above + abs(guess) * 2**-24)}
    even = {number: struct.unpack("<I", struct.pack("<f", number))[0] & 1 for number in near}
    return min(near, key=lambda number: (abs(Fraction(number) - value), even[number]))


@UNHURRIED
@given(singles)
def test_a_fused_product_and_sum_is_rounded_once(value: float) -> None:
    factor = single(-1.9)
    assert _fused(value, factor) == nearest(Fraction(value) * Fraction(factor) + 1)


def test_a_sum_that_binary64_puts_half_way_is_rounded_by_what_it_left_out() -> None:
    # 1 - 2^-25 is half-way between 1 - 2^-24 and 1; a product a little smaller or greater must decide.
    for tiny, expected in ((2.0**-25 + 2.0**-77, 1 - 2.0**-24), (2.0**-25 - 2.0**-78, 1.0)):
        assert nearest(1 - Fraction(tiny)) == expected
        assert _fused(tiny, -1.0) == expected


def test_all_lanes_differ_so_that_none_can_stand_for_another() -> None:
    for rounds in (1, 400):
        assert len(set(struct.unpack("<32I", arithmetic.chaos(rounds)))) == 32
