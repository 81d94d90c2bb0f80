"""The map of who reaches whom, kept as rows of bits, says what a plain record of all probes says."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from coordinator.core.ids import HostId
from coordinator.core.model import Reach
from coordinator.core.reachability import LATENCY_CLASSES, ReachMap

HOSTS = [HostId(f"h-{number}") for number in range(1, 6)]
ADDRESSES = ("10.0.0.1", "10.0.0.2")
TIMES = (0.00005, 0.0002, 0.002, 0.02, 5.0)

probes = st.tuples(
    st.sampled_from(HOSTS), st.sampled_from(HOSTS), st.sampled_from(ADDRESSES), st.sampled_from((None, *TIMES))
).filter(lambda probe: probe[0] != probe[1])
steps = st.one_of(
    probes,
    st.tuples(st.just("forget"), st.sampled_from(HOSTS)),
    st.tuples(st.just("best"), st.sampled_from(HOSTS), st.sampled_from((None, *ADDRESSES))),
)


class Plain:
    """What was said last of each (source, target, address), and every answer worked out from that alone."""

    def __init__(self) -> None:
        self.links: dict[tuple[HostId, HostId, str], bool] = {}
        self.seconds: dict[tuple[HostId, HostId], float] = {}
        self.best: dict[HostId, str | None] = {}

    def forget(self, host: HostId) -> None:
        self.links = {key: reached for key, reached in self.links.items() if host not in key}
        self.seconds = {key: taken for key, taken in self.seconds.items() if host not in key}

    def reaches(self, a: HostId, b: HostId) -> bool:
        return any(reached for key, reached in self.links.items() if key[:2] == (a, b))

    def close(self, a: HostId, b: HostId) -> bool:
        ends = ((a, b), (b, a))
        return all(self.links.get((one, other, self.best.get(other) or ""), False) for one, other in ends)


@given(st.lists(steps, max_size=60))
def test_it_says_what_the_probes_said(said: list[tuple[object, ...]]) -> None:
    reach, plain = ReachMap(), Plain()
    for step in said:
        match step:
            case ("forget", host):
                reach.forget(host)  # type: ignore[arg-type]
                plain.forget(host)  # type: ignore[arg-type]
            case ("best", host, address):
                reach.set_best(host, address)  # type: ignore[arg-type]
                plain.best[host] = address  # type: ignore[index, assignment]
            case (source, target, address, taken):
                probe = Reach(source, target, address, 7000, taken is not None, "late", taken or 0.0)  # type: ignore[arg-type]
                reach.record(probe)
                plain.links[source, target, address] = taken is not None  # type: ignore[index]
                if taken is not None:
                    plain.seconds[source, target] = taken  # type: ignore[index, assignment]
    check(reach, plain)


def check(reach: ReachMap, plain: Plain) -> None:
    for a in HOSTS:
        others = [b for b in HOSTS if b != a]
        assert reach.neighbours(a) == {b for b in others if plain.reaches(a, b) and plain.reaches(b, a)}
        slot = reach.slot(a)
        close = () if slot is None else reach.hosts(reach.close[slot])
        assert set(close) == {b for b in others if plain.close(a, b)}
        for b in others:
            known = {address: plain.links[a, b, address] for address in ADDRESSES if (a, b, address) in plain.links}
            assert reach.addresses(a, b) == {address for address, reached in known.items() if reached}
            assert reach.probed(a, b) == bool(known)
            failure = reach.failure(a, b)
            assert (failure is not None) == (bool(known) and not any(known.values()))
            assert failure is None or (failure.source, failure.target, failure.reason) == (a, b, "late")
            check_time(reach, plain, a, b)


def check_time(reach: ReachMap, plain: Plain, a: HostId, b: HostId) -> None:
    taken = [plain.seconds[ends] for ends in ((a, b), (b, a)) if ends in plain.seconds]
    seconds = reach.seconds(a, b)
    assert (seconds is None) == (not taken)
    if seconds is not None:
        assert 0.95 < seconds / min(taken) < 1.05
    slot = reach.slot(a)
    for bound, rows in zip(LATENCY_CLASSES, reach.within, strict=True):
        within = slot is not None and bool(rows[slot] & reach.bit(b))
        assert within == (bool(taken) and min(taken) <= bound)


def test_a_place_in_the_rows_is_given_again_and_says_nothing_of_who_had_it_before() -> None:
    reach = ReachMap()
    one, two, three = HOSTS[:3]
    for source, target in ((one, two), (two, one)):
        reach.record(Reach(source, target, "a", 1, True, seconds=0.001))
    place = reach.slot(two)
    reach.forget(two)
    reach.record(Reach(one, three, "a", 1, False, "timed out"))
    assert reach.slot(three) == place
    assert (reach.neighbours(one), reach.seconds(one, three), reach.reaches(three, one)) == (frozenset(), None, False)
