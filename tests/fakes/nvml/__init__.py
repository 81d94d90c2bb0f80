"""GPUs for hosts that have none: a stub `libnvidia-ml.so.1` that the real nvidia-ml-py loads, and its scenarios.

    library = build_stub(tmp_path)                       # once; skips without gcc
    scenario = tmp_path / "gpus"
    write_scenario(scenario, eight_h100())               # write it again at any time: every call reads it anew
    env = os.environ | stub_env(library, scenario)       # for an agent or a probe
    env = host_env(tmp_path / "h100", eight_h100())      # the three steps at once; also one_a100(), one_t4() and ()
    happen(scenario, gpu=3, xid=79)                      # an event; listeners hear those after their registration

A field may be ``None`` (not supported), ``fail(N)`` (NVML error N), ``HANG`` or ``CRASH``.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.support import missing

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Value = int | str | None

HANG = "hang"
CRASH = "crash"
NO_PERMISSION, NOT_LOADED, GPU_IS_LOST, RESET_REQUIRED, VERSION_MISMATCH = 4, 9, 15, 16, 18
MIB = 1 << 20
# Types of events, and reasons for lower clocks.
DOUBLE_BIT, XID, OTHER_EVENTS = 0x2, 0x8, 0xC002
THERMAL, POWER_BRAKE = 0x40, 0x80
# What the stub tells of a GPU in good health, and of which old cards and drivers know nothing.
HEALTH = (
    "ecc_volatile",
    "ecc_aggregate",
    "remapped",
    "slowdown",
    "recovery_action",
    "pcie_width",
    "pcie_max_width",
    "pcie_generation",
    "pcie_max_generation",
    "link_errors",
    "processes",
    "events",
)


def fail(number: int) -> str:
    """The value of a field that answers with this NVML error."""
    return f"!{number}"


@dataclass(frozen=True, slots=True)
class StubMig:
    """One MIG instance. Real drivers tell no compute capability of it."""

    uuid: Value
    name: Value
    memory: Value
    memory_used: Value = 0
    compute_capability: Value = None


@dataclass(frozen=True, slots=True)
class StubGpu:
    """One GPU as NVML tells it: bytes, milliwatts, percent, degrees. ``handle`` is the call that finds it.

    ``nvlinks`` of its 18 links are up; ``mig_mode`` is 1 when it is divided into ``mig``. ``remapped`` is
    ``corrected,uncorrected,pending,failed``, ``link_errors`` is
    ``replays,recoveries`` of its first link, ``processes`` is ``pid:bytes,…``, ``events`` the types that it can tell.
    """

    uuid: Value
    name: Value
    memory: Value
    compute_capability: Value
    pci_bus: Value
    power_limit: Value
    utilization: Value = 0
    memory_used: Value = 0
    temperature: Value = 30
    power: Value = 70_000
    enforced_limit: Value = None
    handle: Value = "yes"
    nvlinks: Value = None
    mig_mode: Value = None
    mig: tuple[StubMig, ...] = ()
    ecc_volatile: Value = 0
    ecc_aggregate: Value = 0
    remapped: Value = "0,0,0,0"
    retired_pages: Value = None
    retirement_pending: Value = None
    slowdown: Value = 0
    recovery_action: Value = 0
    pcie_width: Value = 16
    pcie_max_width: Value = 16
    pcie_generation: Value = 4
    pcie_max_generation: Value = 4
    link_errors: Value = "0,0"
    processes: Value = ""
    events: Value = XID | OTHER_EVENTS


def h100(number: int) -> StubGpu:
    return _gpu(number, "NVIDIA H100 80GB HBM3", 81559, "9.0", 700)


def a100(number: int) -> StubGpu:
    return _gpu(number, "NVIDIA A100-SXM4-40GB", 40960, "8.0", 400)


def t4(number: int) -> StubGpu:
    return _gpu(number, "Tesla T4", 15360, "7.5", 70)


def divided(gpu: StubGpu, *profiles: str) -> StubGpu:
    """``gpu`` in MIG mode, with an instance of each profile, like ``1g.5gb``."""
    made = tuple(
        StubMig(
            uuid=f"MIG-{place:08x}{str(gpu.uuid).removeprefix('GPU-')[8:]}",
            name=f"{gpu.name} MIG {profile}",
            memory=int(profile.partition(".")[2].removesuffix("gb")) * 1024 * MIB,
        )
        for place, profile in enumerate(profiles)
    )
    return replace(gpu, mig_mode=1, mig=made)


def _gpu(number: int, name: str, mebibytes: int, capability: str, watts: int) -> StubGpu:
    return StubGpu(
        uuid=f"GPU-{number:08x}-0000-4000-8000-000000000000",
        name=name,
        memory=mebibytes * MIB,
        compute_capability=capability,
        pci_bus=f"00000000:{number + 16:02X}:00.0",
        power_limit=watts * 1000,
    )


def eight_h100() -> tuple[StubGpu, ...]:
    """The usual training host."""
    return tuple(replace(h100(number), nvlinks=18) for number in range(8))


def one_a100() -> tuple[StubGpu, ...]:
    """A rented machine."""
    return (replace(a100(0x100), nvlinks=12),)


def one_t4() -> tuple[StubGpu, ...]:
    """A small one."""
    return (t4(0x200),)


def mixed() -> tuple[StubGpu, ...]:
    """Three models in one host."""
    return (h100(0), a100(1), t4(2))


def unsupported() -> tuple[StubGpu, ...]:
    """A GPU that tells who it is and nothing else."""
    told = (*_MEASURED, *HEALTH, "memory", "compute_capability", "pci_bus", "power_limit")
    silent: dict[str, Any] = dict.fromkeys(told)
    return (replace(t4(0), **silent),)


def lost(gpu: StubGpu) -> StubGpu:
    """``gpu`` after it fell off the bus: the driver still has its handle, and nothing behind it answers."""
    still = ("handle", "mig", "events")
    return replace(gpu, **{name: fail(GPU_IS_LOST) for name in asdict(gpu) if name not in still})


def hanging(gpu: StubGpu) -> StubGpu:
    """``gpu`` when a question about how it does never comes back."""
    return replace(gpu, utilization=HANG)


_MEASURED = ("utilization", "memory_used", "temperature", "power")


def write_scenario(
    path: Path,
    gpus: Iterable[StubGpu] = (),
    *,
    init: Value = "yes",
    driver: Value = "580.95.05",
    cuda: Value = 13000,
    count: Value = None,
) -> Path:
    """Make these the GPUs, from the library's next call on. ``count`` may differ from how many ``gpus`` are."""
    listed = list(gpus)
    top = {"init": init, "driver": driver, "cuda": cuda, "count": len(listed) if count is None else count}
    lines = [*_lines("", top)]
    for index, gpu in enumerate(listed):
        told = asdict(gpu)
        del told["mig"]
        lines += _lines(f"gpu.{index}.", told)
        for place, instance in enumerate(gpu.mig):
            lines += _lines(f"gpu.{index}.mig.{place}.", asdict(instance))
    # Renamed into place: the library may be reading it just now.
    new = path.with_name(f".{path.name}.new")
    new.write_text("".join(lines))
    return new.replace(path)


def happen(scenario: Path, gpu: int, xid: int = 0, kind: int = XID, instance: int | None = None) -> None:
    """Let the GPU of that index tell an event, to those who listen by now; ``instance``: to a MIG instance alone."""
    with scenario.with_name(f"{scenario.name}.events").open("a") as events:
        events.write(f"{gpu} {kind} {xid}{'' if instance is None else f' {instance}'}\n")


def _lines(prefix: str, values: Mapping[str, Value]) -> list[str]:
    return [f"{prefix}{key}={value}\n" for key, value in values.items() if value is not None]


def build_stub(folder: Path, *, old: bool = False) -> Path:
    """Compile the stub into ``folder`` (once) and return that, for ``LD_LIBRARY_PATH``.

    ``old``: as a driver from before MIG and NVLink, whose library lacks their functions.
    """
    library = folder / "libnvidia-ml.so.1"
    if not library.exists():
        compiler = shutil.which("gcc") or missing("gcc", "install it, for example with 'apt-get install gcc libc6-dev'")
        source = Path(__file__).with_name("stub.c")
        flags = ["-std=c11", "-D_GNU_SOURCE", "-Wall", "-Werror", "-shared", "-fPIC", f"-Wl,-soname,{library.name}"]
        flags += ["-DOLD"] if old else []
        subprocess.run([compiler, *flags, "-o", str(library), str(source)], check=True)
    return folder


def host_env(folder: Path, gpus: Iterable[StubGpu]) -> dict[str, str]:
    """The variables of an agent on a host with these GPUs; none for a host without any. ``folder`` is made for it."""
    listed = tuple(gpus)
    if not listed:
        return {}
    folder.mkdir(parents=True, exist_ok=True)
    return stub_env(build_stub(folder), write_scenario(folder / "gpus", listed))


def stub_env(library: Path, scenario: Path) -> dict[str, str]:
    """The variables that make a process load the stub from ``library`` and play ``scenario``."""
    others = os.environ.get("LD_LIBRARY_PATH")
    path = f"{library}{os.pathsep}{others}" if others else str(library)
    return {"LD_LIBRARY_PATH": path, "RALLYPOINT_NVML_STUB": str(scenario)}
