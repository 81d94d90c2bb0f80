"""Output that is not whole: what was dropped is counted, marked and never taken for output, whatever happens."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coordinator.core.errors import Invalid
from coordinator.core.ids import AllocationId, JobId
from coordinator.gaps import mark
from coordinator.logfiles import Chunk, LogFiles, Run
from tests.support import missing

A = AllocationId("j-7.0.1")
JOB = JobId("j-7")
MB = 1 << 20
WHY = "the host's log limit of 256 MB"


def runs(files: LogFiles, log: AllocationId = A, offset: int = 0, limit: int = MB) -> list[Run]:
    """All of a log, run by run."""
    found = []
    while (run := files.read(log, offset, limit)).end > offset:
        found.append(run)
        offset = run.end
    return found


def kept(files: LogFiles, log: AllocationId = A) -> int:
    return sum(len(run.data) for run in runs(files, log))


def test_a_gap_is_told_apart_from_zeros_and_stays_after_a_restart(tmp_path: Path) -> None:
    files = LogFiles(tmp_path)
    assert files.append([Chunk(A, 0, b"\0\0ab"), Chunk(A, 10, b"\0k", dropped=6, reason=WHY)]) == {A: 12}
    expected = [Run(0, b"\0\0ab"), Run(10, b"", 6, WHY), Run(10, b"\0k")]
    assert runs(files) == expected
    files.close()
    again = LogFiles(tmp_path)
    assert runs(again) == expected
    assert again.read(A, 7, 100) == Run(10, b"", 3, WHY)
    assert again.dropped(JOB) == {A: 6}
    assert again.dropped(JobId("j-8")) == {}
    assert again.append([Chunk(A, 12, b"more")]) == {A: 16}


def test_repeats_of_a_gap_are_harmless_and_what_is_stored_is_never_lost_to_one(tmp_path: Path) -> None:
    files = LogFiles(tmp_path)
    files.append([Chunk(A, 0, b"abcdef")])
    # The answer to "abcdef" was lost: the host believes that nothing of it arrived, and has dropped it since.
    assert files.append([Chunk(A, 8, b"ij", dropped=8)]) == {A: 10}
    assert files.append([Chunk(A, 8, b"ij", dropped=8), Chunk(A, 0, b"abcdef")]) == {A: 10}
    assert runs(files) == [Run(0, b"abcdef"), Run(8, b"", 2), Run(8, b"ij")]
    assert files.append([Chunk(A, 20, b"", dropped=10, reason="x")]) == {A: 20}, "a gap at the end, and nothing after"
    assert runs(files)[-1] == Run(20, b"", 10, "x")


def test_a_hole_that_nobody_dropped_is_refused(tmp_path: Path) -> None:
    files = LogFiles(tmp_path)
    files.append([Chunk(A, 0, b"ab")])
    assert files.append([Chunk(A, 9, b"z", dropped=6)]) == {A: 2}
    with pytest.raises(Invalid, match=r"output of j-7\.0\.1 can't begin at -1"):
        files.append([Chunk(A, 3, b"z", dropped=4)])


def test_a_hosts_reason_can_not_drive_a_terminal(tmp_path: Path) -> None:
    files = LogFiles(tmp_path)
    files.append([Chunk(A, 5, b"", dropped=5, reason="\x1b[2J" + "x" * 500)])
    assert runs(files) == [Run(5, b"", 5, "?[2J" + "x" * 196)]


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_whatever_comes_in_whatever_order_each_byte_is_its_own_or_counted(data: st.DataObject) -> None:
    whole = bytes(data.draw(st.lists(st.integers(0, 255), min_size=1, max_size=150), label="whole"))
    with TemporaryDirectory() as directory:
        files = LogFiles(Path(directory))
        seen: dict[int, int] = {}
        for _ in range(15):
            if data.draw(st.booleans(), label="restart"):
                files.close()
                files = LogFiles(Path(directory))
            start = data.draw(st.integers(0, len(whole)))
            piece = whole[start : start + data.draw(st.integers(0, 40))]
            before = files.size(A)
            chunk = Chunk(A, start, piece, data.draw(st.integers(0, start)), data.draw(st.sampled_from(["", "x"])))
            end = files.append([chunk])[A]
            assert end >= before
            found = runs(files, limit=7)
            assert sum(len(run.data) + run.dropped for run in found) == end == files.size(A)
            now = {run.offset + i: byte for run in found for i, byte in enumerate(run.data)}
            assert all(whole[at] == byte for at, byte in now.items())
            assert now.items() >= seen.items(), "what was stored stays"
            seen = now
        files.close()


def test_of_a_long_log_head_and_tail_are_kept_and_the_rest_is_counted_and_freed(tmp_path: Path) -> None:
    files = LogFiles(tmp_path, limit=8 * MB)
    block = os.urandom(MB)
    for at in range(40):
        assert files.append([Chunk(A, at * MB, block)]) == {A: (at + 1) * MB}
        assert kept(files) <= 8 * MB
        assert files.path(A).stat().st_blocks * 512 <= 9 * MB
    found = runs(files)
    assert found[0] == Run(0, block)
    assert found[1].reason == "the coordinator's log limit of 8 MB"
    assert [run.dropped for run in found].count(0) == len(found) - 1, "one gap, however often something was dropped"
    assert all(run.data in block for run in found if run.data)
    assert kept(files) >= 6 * MB
    assert kept(files) + files.dropped(JOB)[A] == 40 * MB


def test_gaps_of_the_host_go_with_what_is_dropped_here(tmp_path: Path) -> None:
    files = LogFiles(tmp_path, limit=MB)
    at = 0
    for _ in range(100):
        at += 1000
        files.append([Chunk(A, at, b"x" * 50_000, dropped=1000, reason=WHY)])
        at += 50_000
    assert kept(files) + files.dropped(JOB)[A] == at == files.size(A)
    assert len(files.path(A).with_suffix(".gaps").read_text()) < 4000


def test_where_nothing_can_be_freed_the_beginning_is_kept(tmp_path: Path) -> None:
    mount = subprocess.run(["mount", "-t", "ramfs", "none", str(tmp_path)], capture_output=True, text=True)
    if mount.returncode != 0:
        missing("a file system without holes", f"run as root, who may mount a ramfs ({mount.stderr.strip()})")
    try:
        files = LogFiles(tmp_path / "logs", limit=MB)
        for at in range(4):
            assert files.append([Chunk(A, at * 600_000, b"x" * 600_000)]) == {A: (at + 1) * 600_000}
        assert [(len(run.data), run.dropped) for run in runs(files)][-1] == (0, 2_400_000 - MB)
        assert kept(files) == MB
        files.close()
    finally:
        subprocess.run(["umount", "--lazy", str(tmp_path)], check=True)


@pytest.mark.parametrize(("lines", "first"), [(1, "five\n"), (2, "four\nfive\n"), (3, "three\nfour\nfive\n")])
def test_the_last_lines(tmp_path: Path, lines: int, first: str) -> None:
    files = LogFiles(tmp_path)
    files.append([Chunk(A, 0, b"one\ntwo\nthree\nfour\nfive\n")])
    assert files.read(A, files.tail(A, lines), 1000).data.decode() == first
    assert files.tail(A, 5) == files.tail(A, 99) == 0
    assert files.tail(AllocationId("j-7.9.1"), 3) == 0


def test_the_last_lines_over_a_gap_show_the_gap(tmp_path: Path) -> None:
    files = LogFiles(tmp_path)
    files.append([Chunk(A, 0, b"one\ntwo\nthr"), Chunk(A, 1_000_000, b"ur\nfive", dropped=1_000_000 - 11)])
    gap = Run(1_000_000, b"", 1_000_000 - 11)
    assert runs(files, offset=files.tail(A, 1)) == [Run(1_000_003, b"five")]
    assert runs(files, offset=files.tail(A, 2)) == [gap, Run(1_000_000, b"ur\nfive")]
    assert runs(files, offset=files.tail(A, 4)) == [Run(4, b"two\nthr"), gap, Run(1_000_000, b"ur\nfive")]


def test_the_last_line_of_a_log_without_line_ends_is_looked_for_in_a_part_of_it(tmp_path: Path) -> None:
    files = LogFiles(tmp_path)
    files.append([Chunk(A, at * MB, b"x" * MB) for at in range(20)])
    assert files.tail(A, 1) == 4 * MB


@pytest.mark.parametrize(
    ("amount", "text"),
    [(1, "1 byte"), (999, "999 bytes"), (2048, "2.0 KB"), (129394278, "123.4 MB"), (3 << 30, "3.0 GB")],
)
def test_a_mark_for_people(amount: int, text: str) -> None:
    assert mark(amount, WHY) == f"[{text} of output dropped here: {WHY}]"
    assert mark(amount, "") == f"[{text} of output dropped here]"
