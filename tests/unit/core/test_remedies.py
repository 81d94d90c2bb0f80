"""What would make a host fit: said in words, and enough when it is done."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coordinator.core import fit, needs, remedies
from coordinator.core.events import CordonRequested
from coordinator.core.model import HostFacts
from coordinator.core.spec import GpuRequest, HostFilter, JobSpec, Placement, Range, Resources, SpotPolicy
from tests.fakes.world import World, hardware

ANY = JobSpec(argv=("x",), placement=Placement.ANY)


def asking(cpus: int = 1, gpus: int = 0, *, where: HostFilter | None = None) -> JobSpec:
    gpu = GpuRequest(count=Range(gpus, gpus)) if gpus else None
    return replace(ANY, resources=Resources(cpus=Range(cpus), gpu=gpu), where=where or HostFilter())


def said(world: World, spec: JobSpec) -> str:
    remedy = remedies.of_host(world.state, world.state.hosts[world.held()[0].host_id], spec)
    return "" if remedy is None else remedy.words


def busy(cpus: int = 8, gpus: int = 4, price: float = 8.0) -> World:
    """One host of which half is held."""
    world = World()
    world.add_host("b1", hardware(cpus, gpus), HostFacts(price_per_hour=price, backend="rack"))
    world.submit(asking(cpus // 2, gpus // 2))
    return world


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (asking(1, 2), ""),
        (asking(1, 3), "with 1 GPU more free"),
        (asking(6), "with 2 CPUs more free"),
        (asking(6, 4), "with 2 CPUs and 2 GPUs more free"),
        (asking(64), "if a node asked for 8 CPUs"),
        (asking(1, 8), "if a node asked for 4 GPUs"),
        (asking(1, 2, where=HostFilter(max_price=1.0)), "if max_price were 4.00"),
        (asking(1, 1, where=HostFilter(max_price=1.0)), "if max_price were 2.00"),
        (asking(where=HostFilter(backends=("cloud",))), "if backends had rack"),
        (asking(where=HostFilter(spot=SpotPolicy.SPOT)), "if spot_policy were auto"),
        (asking(6, where=HostFilter(hosts=("gpu-*",))), "if hosts had b1 and with 2 CPUs more free"),
        (asking(where=HostFilter(hosts=("gpu-*",), backends=("cloud",))), ""),
        (replace(ANY, resources=Resources(cpu_arch="arm")), ""),
    ],
)
def test_each_thing_in_the_way_has_its_remedy(spec: JobSpec, words: str) -> None:
    assert said(busy(), spec) == words


def test_a_host_that_is_closed_or_away_says_how_it_comes_back() -> None:
    world = busy()
    world.post(CordonRequested("b1", cordoned=True))
    assert said(world, ANY) == "if host b1 were resumed"
    assert said(world, asking(6)) == "with 2 CPUs more free and if host b1 were resumed"
    world.post(CordonRequested("b1", cordoned=False))
    world.asleep.update(world.state.hosts)
    world.advance(20)
    assert said(world, ANY) == "once host b1 is back in contact"


def test_the_nearest_host_is_the_one_that_lacks_least() -> None:
    world = busy()
    world.add_host("b2", hardware(2, prefix="b2"))
    assert remedies.nearest(world.state, asking(6)) == "b1 would fit with 2 CPUs more free"
    assert remedies.nearest(world.state, asking(2)) == ""
    assert remedies.nearest(world.state, asking(1, 3)) == "b1 would fit with 1 GPU more free"


@settings(max_examples=60, deadline=None)
@given(
    cpus=st.integers(1, 6),
    gpus=st.integers(0, 4),
    held=st.tuples(st.integers(1, 4), st.integers(0, 2)),
    price=st.floats(0.01, 40.0),
    limit=st.none() | st.floats(0.01, 40.0),
)
def test_what_is_said_to_help_does(
    cpus: int, gpus: int, held: tuple[int, int], price: float, limit: float | None
) -> None:
    world = World()
    host = world.add_host("b1", hardware(4, 2), HostFacts(price_per_hour=price))
    world.submit(asking(*held))
    spec = asking(cpus, gpus, where=HostFilter(max_price=limit))
    (need,) = needs.all_needs(spec)
    fits = fit.never(host, need) is None and fit.not_now(host, world.state.usage[host.id], need) is None
    remedy = remedies.of_host(world.state, host, spec)
    if fits:
        assert remedy is None
    elif remedy is not None and "max_price" in remedy.words and "more free" not in remedy.words:
        wanted = float(remedy.words.split("max_price were ")[1].split(" ")[0])
        (need,) = needs.all_needs(replace(spec, where=HostFilter(max_price=wanted)))
        assert fit.refuses(host, need) is None
