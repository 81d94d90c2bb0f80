"""What is sent and what is let go of: decided without files, calls or clocks."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.core import disk
from agent.core.model import AllocationId
from agent.core.outflow import (
    EMPTIED,
    GONE,
    LEAST_BYTES,
    MB,
    MOST_BYTES,
    NO_SPACE,
    SMALL_BYTES,
    Free,
    Limits,
    Look,
    Outflow,
    Position,
    Record,
    Send,
)

A, B = AllocationId("a.0.1"), AllocationId("b.0.1")


def acked(flow: Outflow, key: AllocationId, offset: int, now: float = 0.0) -> None:
    flow.answered([Position(key, offset)], now)


def sizes(sends: list[Send]) -> dict[AllocationId, int]:
    return {send.key: send.length for send in sends}


def test_what_a_program_prints_now_and_then_goes_out_at_once() -> None:
    flow = Outflow(Limits())
    assert flow.look([Look(A, 100), Look(B, 5)]) == []
    assert sorted(flow.plan(0.0), key=lambda send: send.key) == [Send(A, 0, 0, 100), Send(B, 0, 0, 5)]
    flow.answered([Position(A, 100), Position(B, 5)], 0.01)
    assert flow.plan(0.01) == []
    assert flow.finished() == []
    flow.look([Look(A, 100, ended=True, final=100), Look(B, 5)])
    assert flow.finished() == [A]


def test_a_flood_goes_out_at_a_rate_and_small_logs_before_it() -> None:
    flow = Outflow(Limits(keep=None, total=None, rate=4 * MB))
    sent, now, offset = 0, 0.0, 0
    for turn in range(100):
        flow.look([Look(A, 1 << 40), Look(B, turn + 1)])
        sends = flow.plan(now)
        assert sends[0] == Send(B, turn, turn, 1), "whatever floods beside it"
        offset += sizes(sends).get(A, 0)
        sent += sizes(sends).get(A, 0)
        flow.answered([Position(A, offset), Position(B, turn + 1)], now + 0.01)
        now += 0.05
    assert 4 * MB * now * 0.9 <= sent <= 4 * MB * (now + 1.1)


def test_floods_share_what_goes_out() -> None:
    flow = Outflow(Limits(keep=None, total=None))
    keys = [AllocationId(f"a.{rank}.1") for rank in range(7)]
    flow.look([Look(key, 1 << 40) for key in keys])
    for _ in range(4):
        flow.plan(0.0)
        flow.answered([], 0.0)
    sends = flow.plan(1.0)
    assert set(sizes(sends)) == set(keys)
    assert sum(sizes(sends).values()) <= MOST_BYTES
    assert min(sizes(sends).values()) >= MOST_BYTES // 10


def test_on_a_slow_link_calls_get_small_and_large_again_when_it_is_fast() -> None:
    """A heartbeat must not wait behind a megabyte."""
    flow = Outflow(Limits(keep=None, total=None))
    flow.look([Look(A, 1 << 40)])
    at, now = 0, 0.0
    lengths = []
    for took in [0.01] * 10 + [2.0] * 10 + [0.01] * 10:
        (send,) = flow.plan(now)
        lengths.append(send.length)
        at, now = at + send.length, now + took
        acked(flow, A, at, now)
    assert lengths[0] == SMALL_BYTES, "how fast the link is, is not known yet"
    assert lengths[9] == MOST_BYTES
    assert lengths[19] == LEAST_BYTES
    assert lengths[29] == MOST_BYTES


@pytest.mark.parametrize(
    ("way", "rate", "least", "most"), [(0.6, 10 * MB, 256 * 1024, MOST_BYTES), (0.6, 32_000, LEAST_BYTES, 64 * 1024)]
)
def test_a_long_way_is_not_a_slow_one(way: float, rate: float, least: int, most: int) -> None:
    flow = Outflow(Limits(keep=None, total=None))
    flow.look([Look(A, 1 << 40)])
    at, now, lengths = 0, 0.0, []
    for _ in range(30):
        (send,) = flow.plan(now)
        lengths.append(send.length)
        at, now = at + send.length, now + way + send.length / rate
        acked(flow, A, at, now)
    assert least <= min(lengths[15:]), lengths
    assert max(lengths[15:]) <= most, lengths


def test_after_a_failed_call_a_moment_passes() -> None:
    flow = Outflow(Limits())
    flow.look([Look(A, 10)])
    assert flow.plan(0.0)
    flow.failed(0.1)
    assert flow.plan(0.5) == []
    assert flow.plan(1.2) == [Send(A, 0, 0, 10)]


def test_acknowledged_bytes_are_freed_first_and_are_no_gap() -> None:
    flow = Outflow(Limits(keep=8 * MB))
    flow.look([Look(A, 8 * MB)])
    acked(flow, A, 6 * MB)
    assert flow.look([Look(A, 9 * MB)]) == [Free(A, 2 * MB)]
    assert flow.records() == {A: Record(0, 2 * MB)}
    (send,) = flow.plan(0.0)
    assert (send.offset, send.dropped) == (6 * MB, 0)
    assert flow.look([Look(A, 20 * MB)]) == [Free(A, 13 * MB)]
    (send,) = flow.plan(1.0)
    assert (send.offset, send.dropped, send.reason) == (13 * MB, 7 * MB, "the host's log limit of 8 MB")


def test_all_logs_together_are_bounded_by_the_longest() -> None:
    flow = Outflow(Limits(keep=None, total=16 * MB))
    (free,) = flow.look([Look(A, 15 * MB), Look(B, 2 * MB)])
    assert free == Free(A, 3 * MB)


def test_a_disk_that_is_nearly_full_gets_room_from_what_was_sent_and_only_then_from_the_rest() -> None:
    flow = Outflow(Limits(reserve=100 * MB))
    flow.look([Look(A, 20 * MB), Look(B, 30 * MB)], 500 * MB)
    acked(flow, A, 15 * MB)
    assert flow.look([Look(A, 20 * MB), Look(B, 30 * MB)], 60 * MB) == [Free(A, 15 * MB)]
    frees = flow.look([Look(A, 20 * MB), Look(B, 30 * MB)], 20 * MB)
    assert {free.key: free.end for free in frees} == {B: 29 * MB, A: 16 * MB}
    (send,) = (send for send in flow.plan(0.0) if send.key == B)
    assert (send.offset, send.dropped, send.reason) == (29 * MB, 29 * MB, NO_SPACE)


def test_an_agent_that_knows_nothing_asks_by_sending() -> None:
    flow = Outflow(Limits(), {A: Record(0, 5 * MB)})
    flow.look([Look(A, 9 * MB, ended=True, final=9 * MB)])
    (send,) = flow.plan(0.0)
    assert (send.offset, send.dropped, send.place) == (5 * MB, 5 * MB, 5 * MB)
    acked(flow, A, 9 * MB)
    assert flow.finished() == [A]


def test_a_coordinator_that_lost_its_disk_is_told_what_is_gone() -> None:
    flow = Outflow(Limits(keep=8 * MB))
    flow.look([Look(A, 8 * MB)])
    acked(flow, A, 8 * MB)
    flow.look([Look(A, 10 * MB)])
    acked(flow, A, 0)
    (send,) = flow.plan(0.0)
    assert (send.offset, send.dropped) == (3 * MB, 3 * MB)


def test_an_emptied_file_goes_on_where_it_was() -> None:
    flow = Outflow(Limits())
    flow.look([Look(A, 1000)])
    acked(flow, A, 700)
    flow.look([Look(A, 10)])
    assert flow.plan(0.0) == [Send(A, 1000, 0, 10, 300, EMPTIED)]
    assert flow.records() == {A: Record(1000, 1000)}
    acked(flow, A, 1010)
    flow.look([Look(A, 12, ended=True, final=12)])
    assert flow.finished() == []
    assert flow.plan(0.0) == [Send(A, 1010, 10, 2)]


def test_a_file_that_was_emptied_while_no_agent_looked() -> None:
    flow = Outflow(Limits())
    flow.look([Look(A, 10)])
    acked(flow, A, 1000)
    assert flow.plan(0.0) == [Send(A, 1000, 0, 10)], "rather twice than never"


def test_a_file_whose_end_a_crash_of_the_machine_took_is_not_sent_again() -> None:
    flow = Outflow(Limits())
    flow.look([Look(A, 10, ended=True, final=10, torn=True), Look(B, 20, ended=True, final=20, torn=True)])
    flow.answered([Position(A, 1000), Position(B, 5)], 0.0)
    assert flow.finished() == [A]
    assert flow.plan(0.0) == [Send(B, 5, 5, 15)]


def test_a_file_that_is_gone_is_a_gap_up_to_what_was_reported() -> None:
    flow = Outflow(Limits())
    flow.look([Look(A, 500)])
    acked(flow, A, 100)
    flow.look([Look(A, None, ended=True, final=800)])
    assert flow.finished() == []
    assert flow.plan(0.0) == [Send(A, 800, 800, 0, 700, GONE)]
    acked(flow, A, 800)
    assert flow.finished() == [A]


def test_what_is_not_wanted_is_bounded_all_the_same() -> None:
    flow = Outflow(Limits(keep=8 * MB))
    flow.look([Look(A, MB)])
    flow.answered([Position(A, 0, unknown=True)], 0.0)
    assert flow.plan(0.0) == []
    assert flow.look([Look(A, 9 * MB)]) == [Free(A, 2 * MB)]
    flow.look([Look(A, 9 * MB, ended=True, final=9 * MB)])
    assert flow.finished() == [A]


class Site:
    """A host's file and disk, and a coordinator that keeps count."""

    limits = Limits(keep=4 * MB, rate=1 << 40)

    def __init__(self) -> None:
        self.flow = Outflow(self.limits)
        self.now = 0.0
        self.on_disk: dict[AllocationId, Record] = {}
        self.size = self.freed = self.end = self.dropped = self.promised = 0

    def write(self, amount: int) -> None:
        self.size += amount

    def look(self, _: int = 0, ended: bool = False) -> list[Send]:
        self.now += 2.0
        frees = self.flow.look([Look(A, self.size, ended, self.size)])
        self.on_disk = self.flow.records()
        self.freed = max([self.freed, *(free.end for free in frees)])
        assert self.size - self.freed <= 4 * MB
        return self.flow.plan(self.now)

    def arrive(self, sends: list[Send]) -> None:
        for send in sends:
            assert send.place >= self.freed or not send.length, "what is sent is still there"
            if send.offset - send.dropped <= self.end <= send.offset + send.length:
                self.dropped += max(0, send.offset - self.end)
                self.end = send.offset + send.length

    def call(self, _: int = 0, ended: bool = False) -> None:
        self.arrive(self.look(ended=ended))
        self.promised = self.end
        acked(self.flow, A, self.end, self.now)

    def lose_call(self, _: int) -> None:
        self.look()
        self.flow.failed(self.now)

    def lose_answer(self, _: int) -> None:
        self.arrive(self.look())
        self.flow.failed(self.now)

    def restart(self, _: int) -> None:
        self.flow = Outflow(self.limits, self.on_disk)


OPERATIONS = st.sampled_from([Site.write, Site.look, Site.call, Site.lose_call, Site.lose_answer, Site.restart])


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(OPERATIONS, st.integers(1, 5 * MB)), max_size=60))
def test_whatever_is_lost_on_the_way_each_byte_is_stored_or_counted_once(operations: list[tuple[Any, int]]) -> None:
    site = Site()
    for operation, amount in operations:
        operation(site, amount)
        assert site.end >= site.promised
    for _ in range(100):
        site.call(ended=True)
        if site.flow.finished():
            break
    assert site.end == site.size
    assert site.dropped <= site.freed


def test_a_disk_keeps_a_reserve_and_a_small_one_less() -> None:
    gb = 1 << 30
    assert disk.reserve_of(1000 * gb, None) == gb
    assert disk.reserve_of(10 * gb, None) == gb // 2
    assert disk.reserve_of(10 * gb, 5) == 5
    room = disk.Room("/data", 1000 * gb, 300 * MB)
    told = "its disk at /data has only 300 MB left, and 1.0 GB are kept free"
    assert disk.problem([disk.Room("/", 9 * gb, 8 * gb), room], None, before=False) == told
    assert disk.problem([disk.Room("/data", 1000 * gb, gb)], None, before=False) == ""
    assert disk.problem([disk.Room("/data", 1000 * gb, gb)], None, before=True) != "", "no flicker around the bound"
    assert disk.problem([disk.Room("/data", 1000 * gb, 2 * gb)], None, before=True) == ""
