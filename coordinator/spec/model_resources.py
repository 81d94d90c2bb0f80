"""``resources`` of a task file, and what they become."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, PlainValidator, model_validator

from coordinator.core.spec import GpuRequest, Range
from coordinator.core.spec import Resources as Needed
from coordinator.spec import resources as syntax
from coordinator.spec.fields import Fields, text_of
from coordinator.spec.problems import Wrong


class Cpu(Fields):
    """``cpu``: a range, ``arm:4..``, or a mapping."""

    arch: Annotated[str, PlainValidator(syntax.parse_arch)] | None = None
    count: Annotated[Range, PlainValidator(syntax.cpu_count)] = Range(1, None)


class Gpu(Fields):
    """``gpu``: a number, a one-line form, or a mapping."""

    vendor: Annotated[str, PlainValidator(syntax.parse_vendor)] | None = None
    name: Annotated[tuple[str, ...], PlainValidator(syntax.parse_gpu_names)] = ()
    memory: Annotated[Range, PlainValidator(syntax.exact_size)] = Range()
    count: Annotated[Range, PlainValidator(syntax.exact_count)] | None = None
    total_memory: Annotated[Range, PlainValidator(syntax.at_least_size)] = Range()
    compute_capability: Annotated[tuple[int, int], PlainValidator(syntax.parse_compute_capability)] | None = None
    share: Annotated[tuple[int, int], PlainValidator(syntax.parse_share)] | None = None

    @model_validator(mode="after")
    def _one_is_shared(self) -> Gpu:
        if self.share is not None and self.count not in (None, Range(1, 1)):
            raise Wrong("gpu has a share and a count; a share is of one GPU; leave one of them out")
        return self


class Disk(Fields):
    """``disk``: a range, or a mapping with ``size``."""

    size: Annotated[Range, PlainValidator(syntax.at_least_size)]


def _split_cpu(value: object) -> object:
    if isinstance(value, dict) and value.keys() <= {"min", "max"}:
        return {"count": value}
    return syntax.split_cpu(value) if isinstance(value, str) else value


def _split_gpu(value: object) -> object:
    return syntax.split_gpu(value) if isinstance(value, str) else value


def _split_disk(value: object) -> object:
    if isinstance(value, str) or (isinstance(value, dict) and value.keys() <= {"min", "max"}):
        return {"size": value}
    return value


class Resources(Fields):
    """``resources``: what one node needs."""

    cpu: Annotated[Cpu, BeforeValidator(_split_cpu)] = Cpu()
    memory: Annotated[Range, PlainValidator(syntax.exact_size)] = Range()
    disk: Annotated[Disk, BeforeValidator(_split_disk)] | None = None
    shm_size: Annotated[int, PlainValidator(lambda value: syntax.parse_size(text_of(value)))] | None = None
    gpu: Annotated[Gpu, BeforeValidator(_split_gpu)] | None = None

    def over(self, common: Resources) -> Resources:
        """These, and what they do not say from ``common``."""
        return common.model_copy(update={name: getattr(self, name) for name in self.model_fields_set})

    def needed(self) -> Needed:
        """What the core plans with."""
        return Needed(
            cpu_arch=self.cpu.arch,
            cpus=self.cpu.count,
            memory_bytes=self.memory,
            disk_bytes=self.disk.size if self.disk else Range(),
            shm_bytes=self.shm_size,
            gpu=_gpu(self.gpu) if self.gpu else None,
        )


def _gpu(asked: Gpu) -> GpuRequest | None:
    count = asked.count
    if count is None:
        # Memory over all GPUs is only worth asking for when their number is free.
        count = Range(1, None) if asked.total_memory != Range() and asked.share is None else Range(1, 1)
    if count.max == 0 or not count.min:
        return None  # a node holds the lower end, and that is no GPU
    return GpuRequest(
        vendor=asked.vendor,
        names=asked.name,
        count=count,
        memory_bytes=asked.memory,
        total_memory_bytes=asked.total_memory,
        min_compute_capability=asked.compute_capability,
        share=asked.share,
    )
