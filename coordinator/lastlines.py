"""Finds where a log's last lines begin, from pieces of it that are looked at from its end backwards."""

from __future__ import annotations

import re

# Colours and movements of the cursor.
_ESCAPES = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|[@-_])")
# Further back nothing is looked for: a line can have any length.
MOST_BYTES = 16 * 1024 * 1024
# So many characters of a line are shown in a table.
SHOWN_CHARACTERS = 200


def last_line(end: bytes) -> str:
    """The last line with anything to see in the end of an output, without what steers a terminal; cut where it is long.

    Of a progress bar, which writes over itself, that is what stands there now.
    """
    for line in reversed(end.decode(errors="replace").replace("\r", "\n").split("\n")):
        shown = "".join(each for each in _ESCAPES.sub("", line) if each.isprintable()).strip()
        if shown:
            return shown if len(shown) <= SHOWN_CHARACTERS else shown[:SHOWN_CHARACTERS] + "…"
    return ""


class LastLines:
    """Counts line ends from a log's end backwards, until the beginning of the first wanted line is found."""

    def __init__(self, wanted: int) -> None:
        self._wanted = wanted
        self._looked = 0
        self._last = True

    def look(self, data: bytes, begin: int) -> int | None:
        """Look at the piece before those seen so far; the place, if it is here or was to be before."""
        if self._wanted <= 0:
            return begin + len(data)
        # The end of the last line begins none.
        at = len(data) - 1 if self._last and data.endswith(b"\n") else len(data)
        self._last = False
        while (at := data.rfind(b"\n", 0, at)) >= 0:
            self._wanted -= 1
            if self._wanted == 0:
                return begin + at + 1
        self._looked += len(data)
        return begin if self._looked >= MOST_BYTES else None

    def ends_at(self, start: int) -> bool:
        """A line begins at ``start``, where a gap ends: whether it is the first of those wanted."""
        self._wanted -= 1
        return self._wanted <= 0
