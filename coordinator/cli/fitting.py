"""Which columns of a table a narrow terminal shows, and how wide: no title and no word of a cell is ever cut in two."""

from __future__ import annotations

from collections.abc import Sequence

GAP = 2
# What a cell of several words may be folded to; the last column holds sentences.
_FOLDED = 16
_SENTENCE = 24


def fit(header: Sequence[str], rows: Sequence[Sequence[str]], width: int, important: Sequence[str]) -> dict[int, int]:
    """The columns to show, by their places, and how many characters each gets.

    Those that say nothing of any row go first, then those that ``important`` names last or not at all; the first of
    the table stays. Where even that does not fit, it is cut.
    """
    natural = [max(len(row[at]) for row in (header, *rows)) for at in range(len(header))]
    least = [_least(header, rows, at, natural[at]) for at in range(len(header))]
    shown = list(range(len(header)))
    for at in _by_importance(header, rows, important):
        if _sum(least, shown) <= width or len(shown) == 1:
            break
        shown.remove(at)
    widths = {at: least[at] for at in shown}
    left = width - _sum(least, shown)
    # Short ones first: of what is left, a sentence can make more than a number can.
    for at in sorted(shown, key=lambda at: natural[at]):
        more = min(max(0, left), natural[at] - least[at])
        widths[at] += more
        left -= more
    return widths


def _by_importance(header: Sequence[str], rows: Sequence[Sequence[str]], important: Sequence[str]) -> list[int]:
    """The places of the columns, the one that is missed least first; the first column is not among them."""
    rank = {title: place for place, title in enumerate(important)}

    def key(at: int) -> tuple[bool, int, int]:
        says_something = any(row[at] != "-" for row in rows)
        return says_something, -rank.get(header[at], len(rank)), -at

    return sorted(range(1, len(header)), key=key)


def _least(header: Sequence[str], rows: Sequence[Sequence[str]], at: int, natural: int) -> int:
    words = (word for row in rows for word in row[at].split(" "))
    folded = _SENTENCE if at == len(header) - 1 else _FOLDED
    # Of a sentence a path may be longer than the line.
    longest = max((len(word) for word in words), default=0)
    longest = min(longest, 2 * _SENTENCE) if at == len(header) - 1 else longest
    return max(len(header[at]), longest, min(natural, folded))


def _sum(widths: Sequence[int], shown: Sequence[int]) -> int:
    return sum(widths[at] for at in shown) + GAP * (len(shown) - 1)
