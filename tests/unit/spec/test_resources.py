"""dstack's resource syntax, form by form."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from coordinator.core.spec import GpuRequest, Range, Resources
from coordinator.spec.problems import SpecError, Wrong
from coordinator.spec.resources import GIB, exact_count, parse_size, split_gpu
from coordinator.spec.task import Options, load_task

Read = Callable[[str], Resources]

pytestmark = pytest.mark.timeout(30)


@pytest.fixture
def resources(tmp_path: Path) -> Read:
    def read(text: str) -> Resources:
        file = tmp_path / "job.yml"
        file.write_text(f"type: task\ncommands: [x]\nresources: {text}\n")
        return load_task(file, Options(), {}).spec.resources

    return read


def gb(low: float | None, high: float | None = None) -> Range:
    return Range(*(None if end is None else int(end * GIB) for end in (low, high)))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("H100", GpuRequest(names=("H100",))),
        ("4", GpuRequest(count=Range(4, 4))),
        ("H100:2", GpuRequest(names=("H100",), count=Range(2, 2))),
        ("2:H100", GpuRequest(names=("H100",), count=Range(2, 2))),
        ("24GB", GpuRequest(memory_bytes=gb(24, 24))),
        ("24GB..", GpuRequest(memory_bytes=gb(24))),
        ("80GB..:8", GpuRequest(memory_bytes=gb(80), count=Range(8, 8))),
        (
            "A100:40GB..80GB:1..4",
            GpuRequest(names=("A100",), memory_bytes=gb(40, 80), count=Range(1, 4)),
        ),
        ("nvidia:H100,A100:40GB..:..2", None),
        ("'H100, A100 : 2..'", GpuRequest(names=("H100", "A100"), count=Range(2, None))),
        ("tpu:v5", GpuRequest(vendor="google", names=("v5",))),
        ("AMD:MI300X:8", GpuRequest(vendor="amd", names=("MI300X",), count=Range(8, 8))),
        ("0", None),
        ("0..2", None),
        ("{count: 2}", GpuRequest(count=Range(2, 2))),
        ("{name: [H100, A100], count: 1..8}", GpuRequest(names=("H100", "A100"), count=Range(1, 8))),
        ("{name: H100, memory: {min: 40GB, max: 80GB}}", GpuRequest(names=("H100",), memory_bytes=gb(40, 80))),
        ("{total_memory: 160GB}", GpuRequest(total_memory_bytes=gb(160), count=Range(1, None))),
        ("{total_memory: 160GB.., count: 2}", GpuRequest(total_memory_bytes=gb(160), count=Range(2, 2))),
        (
            "{vendor: nvidia, compute_capability: 8.0}",
            GpuRequest(vendor="nvidia", min_compute_capability=(8, 0)),
        ),
        ("{compute_capability: [9, 0]}", GpuRequest(min_compute_capability=(9, 0))),
    ],
)
def test_gpu(resources: Read, text: str, expected: GpuRequest | None) -> None:
    assert resources(f"{{gpu: {text}}}" if text[0] in "'{" else f"{{gpu: '{text}'}}").gpu == expected


@pytest.mark.parametrize(
    ("text", "arch", "cpus"),
    [
        ("4", None, Range(4, None)),
        ("4..", None, Range(4, None)),
        ("..8", None, Range(1, 8)),
        ("4..8", None, Range(4, 8)),
        ("'arm:4..'", "arm", Range(4, None)),
        ("'x86:2'", "x86", Range(2, None)),
        ("ARM", "arm", Range(1, None)),
        ("{arch: aarch64, count: 16..}", "arm", Range(16, None)),
        ("{min: 2, max: 6}", None, Range(2, 6)),
    ],
)
def test_cpu(resources: Read, text: str, arch: str | None, cpus: Range) -> None:
    found = resources(f"{{cpu: {text}}}")
    assert (found.cpu_arch, found.cpus) == (arch, cpus)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("16GB..", gb(16)),
        # One size is both: what the node holds and the most that it may use.
        ("16", gb(16, 16)),
        ("16GB", gb(16, 16)),
        ("512MB..8GB", gb(0.5, 8)),
        ("..8GB", gb(None, 8)),
        ("1.5TB", gb(1536, 1536)),
        ("'16 gb ..'", gb(16)),
        ("{min: 1GB}", gb(1)),
    ],
)
def test_memory(resources: Read, text: str, expected: Range) -> None:
    assert resources(f"{{memory: {text}}}").memory_bytes == expected


@pytest.mark.parametrize("text", ["100GB..", "100", "{size: 100GB..}", "{size: 100}", "{min: 100}"])
def test_disk(resources: Read, text: str) -> None:
    assert resources(f"{{disk: {text}}}").disk_bytes == gb(100)


def test_shared_memory(resources: Read) -> None:
    assert resources("{shm_size: 2GB}").shm_bytes == 2 * GIB


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{gpu: 'H100:A100'}", "gives the name twice; several names are divided by ','"),
        ("{gpu: '2:4'}", "gives the count twice"),
        ("{gpu: 'H100::2'}", "has an empty part; parts are divided by ':'"),
        ("{gpu: 'H100,,A100'}", "is not a GPU's name"),
        ("{gpu: {vendor: nvidea}}", "did you mean nvidia?"),
        ("{gpu: 4..2}", "range 4..2 is the wrong way round; the lower end comes first; write 2..4"),
        ("{gpu: {count: many}}", "'many' is not a whole number"),
        ("{gpu: {compute_capability: 8}}", "it has two numbers; write for example 8.0"),
        ("{gpu: [1]}", "resources.gpu must be a mapping"),
        ("{cpu: '..'}", "the range is empty; at least one end is needed"),
        ("{cpu: 0}", "a node can't run on 0 CPUs"),
        ("{cpu: -1}", "is not a CPU architecture"),
        ("{cpu: 'risc:4'}", "'risc' is not a CPU architecture; x86 and arm are known"),
        ("{memory: 16XB}", "'16XB' is not a size; sizes are in MB, GB or TB; write for example 16GB"),
        ("{memory: 1..2..3}", "has more than two ends"),
        ("{memory: [1]}", "a list is not a range"),
        ("{memory: 99999999999TB}", "is larger than any machine"),
        ("{shm_size: {}}", "this must be one text"),
    ],
)
def test_what_can_not_be_read(resources: Read, text: str, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        resources(text)
    (problem,) = caught.value.problems
    assert problem.place.endswith("job.yml:3")
    assert message in problem.text


@given(st.permutations(["nvidia", "H100,A100", "40GB..", "1..2"]))
def test_parts_of_a_gpu_in_any_order(parts: list[str]) -> None:
    assert split_gpu(":".join(parts)) == {
        "vendor": "nvidia",
        "name": ["H100", "A100"],
        "memory": "40GB..",
        "count": "1..2",
    }


@given(st.text(max_size=20))
@example("0\x1f")  # blank to strip(), but not to int()
def test_no_text_breaks_the_readers(text: str) -> None:
    for read in (parse_size, exact_count, split_gpu):
        with suppress(Wrong):
            read(text)
