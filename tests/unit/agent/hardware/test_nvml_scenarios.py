"""What the probe tells of hosts of every kind, through the real NVML binding and the stub library."""

from __future__ import annotations

import os
from dataclasses import asdict, fields, replace
from typing import TYPE_CHECKING

import pytest

from agent.hardware import Gpu, Vitals
from tests.fakes.nvml import (
    GPU_IS_LOST,
    MIB,
    NO_PERMISSION,
    RESET_REQUIRED,
    Value,
    a100,
    build_stub,
    divided,
    eight_h100,
    fail,
    h100,
    lost,
    mixed,
    stub_env,
    t4,
    unsupported,
    write_scenario,
)
from tests.unit.agent.hardware.conftest import Rig, code_of

if TYPE_CHECKING:
    from pathlib import Path

    from agent.hardware.nvml import NvmlProbe

pytestmark = pytest.mark.timeout(60)

# Each field of the stub's GPU, and the fields of the report that come from it.
SOURCES = {
    "name": {"name"},
    "memory": {"memory_bytes", "memory_used_bytes"},
    "compute_capability": {"compute_capability"},
    "pci_bus": {"pci_bus"},
    "power_limit": {"power_limit_watts"},
    "utilization": {"utilization_percent"},
    "temperature": {"temperature_c"},
    "power": {"power_watts"},
    "nvlinks": {"nvlinks"},
}


def test_eight_h100(rig: Rig) -> None:
    busy = replace(h100(0), utilization=97, memory_used=70000 * MIB, temperature=61, power=688_500)
    rig.gpus([busy, *eight_h100()[1:]])
    reading = rig.read()
    assert (reading.driver_version, reading.cuda_version, reading.problem) == ("580.95.05", "13.0", None)
    assert [gpu.index for gpu in reading.gpus] == list(range(8))
    assert len({gpu.uuid for gpu in reading.gpus}) == 8
    assert replace(reading.gpus[0], vitals=None) == Gpu(
        uuid="GPU-00000000-0000-4000-8000-000000000000",
        index=0,
        name="NVIDIA H100 80GB HBM3",
        memory_bytes=81559 * MIB,
        compute_capability=(9, 0),
        pci_bus="00000000:10:00.0",
        power_limit_watts=700.0,
        utilization_percent=97,
        memory_used_bytes=70000 * MIB,
        temperature_c=61,
        power_watts=688.5,
    )


def test_an_idle_gpu_is_at_zero_and_that_is_known(rig: Rig) -> None:
    rig.gpus([h100(0)])
    (gpu,) = rig.read().gpus
    assert (gpu.utilization_percent, gpu.memory_used_bytes) == (0, 0)


def test_every_gpu_of_a_mixed_host_is_read_on_its_own(rig: Rig) -> None:
    rig.gpus(mixed())
    told = [(gpu.name, gpu.compute_capability, gpu.power_limit_watts) for gpu in rig.read().gpus]
    assert told == [
        ("NVIDIA H100 80GB HBM3", (9, 0), 700.0),
        ("NVIDIA A100-SXM4-40GB", (8, 0), 400.0),
        ("Tesla T4", (7, 5), 70.0),
    ]


def test_what_is_not_supported_is_unknown_and_no_problem(rig: Rig) -> None:
    rig.gpus(unsupported(), driver=None, cuda=None)
    reading = rig.read()
    assert reading.gpus == (Gpu("GPU-00000000-0000-4000-8000-000000000000", 0, "Tesla T4", vitals=Vitals()),)
    assert (reading.driver_version, reading.cuda_version, reading.problem) == (None, None, None)


@pytest.mark.parametrize("refused", [None, fail(NO_PERMISSION), fail(999)])
@pytest.mark.parametrize("source", SOURCES)
def test_one_missing_field_is_none_and_costs_no_other(rig: Rig, source: str, refused: str | None) -> None:
    gpu = replace(h100(0), utilization=5, memory_used=MIB, nvlinks=4)
    rig.gpus([gpu, replace(gpu, uuid="GPU-other", **{source: refused})])
    whole, partly = (asdict(gpu) for gpu in rig.read().gpus)
    differing = {name for name in whole if whole[name] != partly[name]} - {"index", "uuid", "vitals"}
    assert differing == SOURCES[source]
    assert all(partly[name] is None for name in differing)


def test_values_that_mean_not_available_are_unknown(rig: Rig) -> None:
    """Some drivers return success with -1, or with a zero that cannot be."""
    odd: dict[str, Value] = {
        "power": 2**32 - 1,
        "utilization": 2**32 - 1,
        "power_limit": 0,
        "compute_capability": "0.0",
        "memory": 0,
    }
    rig.gpus([replace(h100(0), name="", nvlinks=0, **odd)])
    (gpu,) = rig.read().gpus
    unknown = {f.name for f in fields(gpu) if getattr(gpu, f.name) is None} - {"problem", "parent", "gpu_instance"}
    assert unknown == {
        "name",
        "power_watts",
        "utilization_percent",
        "power_limit_watts",
        "compute_capability",
        "memory_bytes",
        "memory_used_bytes",
    }


def test_the_enforced_limit_serves_where_there_is_no_other(rig: Rig) -> None:
    rig.gpus([replace(h100(0), power_limit=None, enforced_limit=310_000)])
    assert rig.read().gpus[0].power_limit_watts == 310.0


def test_a_gpu_that_falls_off_the_bus_keeps_its_name_and_the_others_their_values(rig: Rig) -> None:
    rig.gpus(mixed())

    async def steps(probe: NvmlProbe) -> None:
        before = (await probe.read()).gpus
        rig.gpus([h100(0), lost(mixed()[1]), mixed()[2]])
        after = (await probe.read()).gpus
        assert after[0::2] == before[0::2]
        assert after[1].problem is not None
        assert after[1].problem.code == "gpu-lost"
        assert (after[1].uuid, after[1].name) == (before[1].uuid, "NVIDIA A100-SXM4-40GB")
        assert (after[1].memory_bytes, after[1].compute_capability) == (40960 * MIB, (8, 0))
        assert after[1].utilization_percent is None
        assert after[1].memory_used_bytes is None
        rig.gpus(mixed())
        assert (await probe.read()).gpus == before

    rig.run(steps)


def test_a_gpu_that_the_driver_no_longer_lists_is_still_reported(rig: Rig) -> None:
    rig.gpus(mixed())

    async def steps(probe: NvmlProbe) -> None:
        await probe.read()
        rig.gpus([h100(0), mixed()[2]])
        after = (await probe.read()).gpus
        assert [(gpu.name, code_of(gpu)) for gpu in after] == [
            ("NVIDIA H100 80GB HBM3", None),
            ("NVIDIA A100-SXM4-40GB", "gpu-lost"),
            ("Tesla T4", None),
        ]

    rig.run(steps)


@pytest.mark.parametrize(
    ("number", "code"), [(GPU_IS_LOST, "gpu-lost"), (RESET_REQUIRED, "gpu-needs-reset"), (999, "gpu-failed")]
)
def test_a_gpu_never_reached_has_a_placeholder_for_its_uuid(rig: Rig, number: int, code: str) -> None:
    rig.gpus([replace(h100(0), handle=fail(number)), h100(1)])
    broken, well = rig.read().gpus
    assert (broken.uuid, code_of(broken)) == ("unknown-0", code)
    assert well.problem is None


def test_a_lost_gpu_makes_nvml_start_anew_now_and_then(rig: Rig) -> None:
    """NVML calls a GPU lost until it is initialised again, also when the GPU is back."""
    rig.gpus([lost(h100(0))])

    async def steps(probe: NvmlProbe) -> None:
        await probe.read()
        pid = probe.worker_pid
        rig.clock.now += 61
        await probe.read()
        # Until it is asked again it listens: the other GPUs' events must not be lost meanwhile.
        assert probe.worker_pid == pid
        rig.gpus([h100(0)])
        assert (await probe.read()).gpus[0].problem is None
        assert probe.worker_pid not in (pid, None)

    rig.run(steps)


# ---------------------------------------------------------------- links and instances


def test_links_that_are_up_are_counted(rig: Rig) -> None:
    rig.gpus([replace(a100(0), nvlinks=12), replace(a100(1), nvlinks=0), t4(2)])
    assert [gpu.nvlinks for gpu in rig.read().gpus] == [12, 0, None]


def test_a_divided_gpu_is_not_offered_but_its_instances_are(rig: Rig) -> None:
    rig.gpus([a100(0), divided(a100(1), "1g.5gb", "3g.20gb")])
    whole, small, large = rig.read().gpus
    assert (whole.name, whole.parent) == ("NVIDIA A100-SXM4-40GB", None)
    assert replace(small, vitals=None) == Gpu(
        uuid="MIG-00000000-0000-4000-8000-000000000000",
        index=1,
        name="NVIDIA A100-SXM4-40GB MIG 1g.5gb",
        memory_bytes=5 << 30,
        memory_used_bytes=0,
        compute_capability=(8, 0),
        pci_bus="00000000:11:00.0",
        parent="GPU-00000001-0000-4000-8000-000000000000",
        gpu_instance=1,
    )
    assert small.vitals == whole.vitals
    assert (large.name, large.memory_bytes) == ("NVIDIA A100-SXM4-40GB MIG 3g.20gb", 20 << 30)
    assert large.uuid != small.uuid


def test_a_gpu_in_mig_mode_without_instances_is_told_of_and_unusable(rig: Rig) -> None:
    rig.gpus([divided(a100(0))])
    (gpu,) = rig.read().gpus
    assert code_of(gpu) == "mig-empty"
    assert gpu.uuid == a100(0).uuid


def test_a_gpu_that_is_divided_anew_leaves_nothing_behind(rig: Rig) -> None:
    steps_taken = (
        ([a100(0)], ["NVIDIA A100-SXM4-40GB"]),
        ([divided(a100(0), "1g.5gb")], ["NVIDIA A100-SXM4-40GB MIG 1g.5gb"]),
        ([divided(a100(0))], ["NVIDIA A100-SXM4-40GB"]),
        ([replace(a100(0), mig_mode=0)], ["NVIDIA A100-SXM4-40GB"]),
    )

    async def steps(probe: NvmlProbe) -> None:
        for gpus, names in steps_taken:
            rig.gpus(gpus)
            assert [gpu.name for gpu in (await probe.read()).gpus] == names

    rig.run(steps)


@pytest.mark.parametrize("how", ["lost", "unlisted", "no-handle"])
def test_instances_of_a_gpu_that_fails_stay_in_the_list_with_the_problem(rig: Rig, how: str) -> None:
    split = divided(a100(0), "1g.5gb", "2g.10gb")
    rig.gpus([split, t4(1)])

    async def steps(probe: NvmlProbe) -> None:
        before = (await probe.read()).gpus
        broken = {"lost": [lost(split)], "no-handle": [replace(split, handle=fail(GPU_IS_LOST))], "unlisted": []}
        rig.gpus([*broken[how], t4(1)])
        after = (await probe.read()).gpus
        assert {gpu.uuid for gpu in after} == {gpu.uuid for gpu in before}
        problems = {gpu.uuid: code_of(gpu) for gpu in after}
        assert problems == {gpu.uuid: "gpu-lost" if gpu.parent else None for gpu in before}
        rig.gpus([split, t4(1)])
        assert (await probe.read()).gpus == before

    rig.run(steps)


def test_a_library_from_before_these_functions_serves_as_well(tmp_path: Path) -> None:
    scenario = write_scenario(tmp_path / "gpus", [replace(divided(a100(0), "1g.5gb"), nvlinks=12)])
    rig = Rig(env=os.environ | stub_env(build_stub(tmp_path, old=True), scenario), scenario=scenario)
    (gpu,) = rig.read().gpus
    assert (gpu.name, gpu.nvlinks, gpu.parent, gpu.problem) == ("NVIDIA A100-SXM4-40GB", None, None, None)
