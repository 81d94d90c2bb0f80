"""What the members of a group measure before it starts (see ``preflight``): answers, and what is kept of them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Link:
    """From one member to another, by their hosts' names: ``bandwidth`` in bits a second, ``latency`` is the least round
    trip in seconds; None: not measured, and ``problem`` says why."""

    source: str
    target: str
    bandwidth: float | None = None
    latency: float | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Device:
    """One GPU of a member at a matrix product, in floating-point operations a second; without a uuid its CPU."""

    host: str
    gpu: str
    name: str
    flops: float


@dataclass(frozen=True, slots=True)
class PreflightReport:
    """What is kept with a job. ``slow`` says in words what is slow, ``blamed`` names the hosts that the group would be
    better without, ``notes`` say what was not measured.

    ``bandwidth`` and ``latency`` are the middle of the members' best, ``all_reduce`` is in bits a second of the bus.
    ``replaced`` counts the generations in a row that were given up for what was slow. ``ended_at`` in Unix seconds.
    """

    generation: int
    ended_at: float
    slow: tuple[str, ...] = ()
    blamed: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    bandwidth: float | None = None
    latency: float | None = None
    all_reduce: float | None = None
    links: tuple[Link, ...] = ()
    devices: tuple[Device, ...] = ()
    replaced: int = 0


@dataclass(frozen=True, slots=True)
class DeviceSpeed:
    """What a host says of one of its GPUs, or of its CPU (no uuid)."""

    gpu: str
    name: str
    flops: float


@dataclass(frozen=True, slots=True)
class Answer:
    """What a member found in step ``number``; ``sent`` and ``received`` in bits a second to its peer and from it.

    ``unable``: its host can't measure that, which says nothing against it.
    """

    number: int
    problem: str = ""
    latency: float | None = None
    sent: float | None = None
    received: float | None = None
    devices: tuple[DeviceSpeed, ...] = ()
    all_reduce: float | None = None
    unable: bool = False
