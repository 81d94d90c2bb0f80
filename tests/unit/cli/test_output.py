"""A job's output: bytes as they came; lines of several ranks never mix, however they are cut and however long."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.cli.output import MAX_PENDING, RankedLines

pytestmark = pytest.mark.timeout(60)


class Page:
    """Keeps what is written."""

    def __init__(self) -> None:
        self.data = b""

    def write(self, data: bytes) -> None:
        self.data += data


def lines(*pieces: tuple[int, bytes], colours: bool = False) -> bytes:
    page = Page()
    ranked = RankedLines(page, colours=colours)
    for rank, data in pieces:
        ranked.feed(rank, 1, data)
    ranked.flush()
    return page.data


def test_lines_are_gathered_before_they_are_printed() -> None:
    assert lines((0, b"a"), (1, b"x\ny"), (0, b"b\n"), (1, b"z")) == b"[1] x\n[0] ab\n[1] yz\n"


def test_empty_lines_and_bytes_that_are_no_text() -> None:
    assert lines((7, b"\n\n\xff\x00\r\n")) == b"[7] \n[7] \n[7] \xff\x00\r\n"


def test_colours_mark_the_rank_only() -> None:
    assert lines((0, b"a\n"), colours=True) == b"\x1b[36m[0]\x1b[0m a\n"


def test_a_new_attempt_begins_on_a_new_line() -> None:
    page = Page()
    ranked = RankedLines(page, colours=False)
    ranked.feed(0, 1, b"half")
    ranked.feed(0, 2, b"again\n")
    ranked.flush()
    assert page.data == b"[0] half\n[0] again\n"


def test_a_line_too_long_to_keep_is_printed_in_pieces() -> None:
    long = b"x" * (MAX_PENDING + 1)
    assert lines((0, long), (0, b"end\nmore\n")) == b"[0] " + long + b"end\n[0] more\n"
    assert lines((0, long), (1, b"other\n"), (0, b"end\n")) == b"[0] " + long + b"\n[1] other\n[0] end\n"
    assert lines((0, long)) == b"[0] " + long + b"\n"


@given(st.lists(st.tuples(st.integers(0, 3), st.binary(max_size=12)), max_size=30))
def test_each_rank_keeps_its_bytes_in_order(pieces: list[tuple[int, bytes]]) -> None:
    printed = lines(*pieces)
    for rank in range(4):
        said = b"".join(data for number, data in pieces if number == rank)
        prefix = b"[%d] " % rank
        kept = [line.removeprefix(prefix) for line in printed.split(b"\n") if line.startswith(prefix)]
        # Lines of the ranks themselves may look like a prefix; then this simple reader can't tell them apart.
        if b"[" not in b"".join(data for _, data in pieces):
            assert kept == said.removesuffix(b"\n").split(b"\n") if said else kept == []
