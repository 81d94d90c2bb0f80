"""The values of ranks are those of nested loops, less what is left out, plus what is put in."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.core.matrix import Axis, Matrix

axes = st.lists(
    st.one_of(
        st.lists(st.text(max_size=3), min_size=1, max_size=4).map(tuple).map(lambda values: ("", values)),
        st.tuples(st.integers(-9, 9), st.integers(0, 6), st.integers(1, 3)),
    ),
    min_size=1,
    max_size=3,
).map(
    lambda drawn: tuple(
        Axis(f"a{i}", each[1]) if each[0] == "" else Axis(f"a{i}", (), each[0], each[0] + each[1], each[2])
        for i, each in enumerate(drawn)
    )
)


@given(axes, st.data())
def test_ranks_count_through_what_is_not_left_out(axes: tuple[Axis, ...], data: st.DataObject) -> None:
    loops = [dict(zip((a.name for a in axes), c, strict=True)) for c in product(*[_listed(axis) for axis in axes])]
    ends = sorted(data.draw(st.sets(st.integers(0, len(loops)), max_size=8)))
    spans = tuple(zip(ends[::2], ends[1::2], strict=False))
    extra = ({"a0": "x"}, {"b": "y"})
    matrix = Matrix(axes, spans, extra)
    gone = {number for start, stop in spans for number in range(start, stop)}
    expected = [values for number, values in enumerate(loops) if number not in gone] + list(extra)
    assert [matrix.values(rank) for rank in range(len(matrix))] == expected
    with pytest.raises(IndexError):
        matrix.values(len(matrix))


def _listed(axis: Axis) -> list[str]:
    return list(axis.values) or [str(number) for number in range(axis.first, axis.last + 1, axis.step)]
