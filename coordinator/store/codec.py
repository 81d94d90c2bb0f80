"""The JSON form of what has no flat columns: specifications, hosts' facts and hardware, groups.

Each record's stored keys are named in one table, with how each is written and read. Reading forgives: a missing key
takes the record's default and an unknown one is passed over, so that an older database loads. ``FORMAT`` rises when
the meaning of a key changes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import Any, Generic, TypeVar

from coordinator.core.model import Disk, Gpu, Group, GroupMember, Hardware, HostFacts, Interface, PeerEndpoint, RdmaPort
from coordinator.core.spec import (
    DisconnectAction,
    FileArchive,
    GpuRequest,
    JobSpec,
    OnDisconnect,
    OnNodeFailure,
    Placement,
    Range,
    Resources,
    RetryEvent,
    RetryPolicy,
    Spread,
    StopCriteria,
)
from coordinator.store.api import StoreError, StoreTooNew

FORMAT = 1
_FORMAT_KEY = "format"

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Form:
    """How one field is written to JSON and read back; ``None`` stays None."""

    write: Callable[[Any], Any] = lambda value: value
    read: Callable[[Any], Any] = lambda value: value


PLAIN = Form()
TUPLE = Form(list, tuple)
TEXT_MAP = Form(dict, lambda doc: MappingProxyType(dict(doc)))


def choice(kind: type[Enum]) -> Form:
    """A field of an enumeration, stored by value."""
    return Form(lambda member: member.value, kind)


@dataclass(frozen=True, slots=True)
class Shape(Generic[R]):
    """The stored keys of one record."""

    make: type[R]
    fields: Mapping[str, Form]

    def write(self, record: R) -> dict[str, Any]:
        """The record as a JSON object."""
        values = ((key, form, getattr(record, key)) for key, form in self.fields.items())
        return {key: None if value is None else form.write(value) for key, form, value in values}

    def read(self, doc: Mapping[str, Any]) -> R:
        """The record again; keys that are missing take its defaults."""
        known = ((key, self.fields[key], value) for key, value in doc.items() if key in self.fields)
        return self.make(**{key: None if value is None else form.read(value) for key, form, value in known})

    @property
    def one(self) -> Form:
        """The form of a field that holds such a record."""
        return Form(self.write, self.read)

    @property
    def many(self) -> Form:
        """The form of a field that holds a tuple of such records."""
        return Form(lambda items: [self.write(item) for item in items], lambda docs: tuple(self.read(d) for d in docs))

    def dumps(self, record: R) -> str:
        """JSON text of the record, marked with the format's number."""
        return json.dumps({_FORMAT_KEY: FORMAT, **self.write(record)}, separators=(",", ":"))

    def loads(self, text: str) -> R:
        """Read what ``dumps`` wrote. Raises StoreTooNew for a later format, StoreError for text that is none."""
        try:
            doc = json.loads(text)
            written = doc.get(_FORMAT_KEY, 1)
            if written <= FORMAT:
                return self.read(doc)
        except (ValueError, TypeError, AttributeError) as error:
            raise StoreError(f"a stored {self.make.__name__} can't be read ({error}); restore a backup") from error
        name = self.make.__name__
        raise StoreTooNew(f"a stored {name} has format {written}, this release knows {FORMAT}; run a newer release")


_RANGE = Shape(Range, {"min": PLAIN, "max": PLAIN})

_GPU_REQUEST = Shape(
    GpuRequest,
    {
        "vendor": PLAIN,
        "names": TUPLE,
        "count": _RANGE.one,
        "memory_bytes": _RANGE.one,
        "total_memory_bytes": _RANGE.one,
        "min_compute_capability": TUPLE,
    },
)

_RESOURCES = Shape(
    Resources,
    {
        "cpu_arch": PLAIN,
        "cpus": _RANGE.one,
        "memory_bytes": _RANGE.one,
        "disk_bytes": _RANGE.one,
        "shm_bytes": PLAIN,
        "gpu": _GPU_REQUEST.one,
    },
)

_FILES = Shape(FileArchive, {"sha256": PLAIN, "size_bytes": PLAIN})

_EVENTS = Form(
    lambda events: sorted(event.value for event in events),
    lambda names: frozenset(RetryEvent(name) for name in names),
)
_RETRY = Shape(RetryPolicy, {"on_events": _EVENTS, "duration": PLAIN, "attempts": PLAIN})

_ON_DISCONNECT = Shape(OnDisconnect, {"action": choice(DisconnectAction), "after": PLAIN})

SPEC = Shape(
    JobSpec,
    {
        "name": PLAIN,
        "nodes": PLAIN,
        "placement": choice(Placement),
        "commands": TUPLE,
        "argv": TUPLE,
        "shell": PLAIN,
        "env": TEXT_MAP,
        "working_dir": PLAIN,
        "resources": _RESOURCES.one,
        "max_duration": PLAIN,
        "stop_duration": PLAIN,
        "stop_signal": PLAIN,
        "stop_criteria": choice(StopCriteria),
        "files": _FILES.one,
        "retry": _RETRY.one,
        "on_node_failure": choice(OnNodeFailure),
        "spread": choice(Spread),
        "priority": PLAIN,
        "redundancy": PLAIN,
        "spares": PLAIN,
        "on_disconnect": _ON_DISCONNECT.one,
    },
)

FACTS = Shape(
    HostFacts,
    {
        "backend": PLAIN,
        "region": PLAIN,
        "network": PLAIN,
        "price_per_hour": PLAIN,
        "labels": TEXT_MAP,
        "spot": PLAIN,
        "instance_type": PLAIN,
        "fleet": PLAIN,
    },
)

_GPU = Shape(
    Gpu,
    {
        "uuid": PLAIN,
        "index": PLAIN,
        "name": PLAIN,
        "vendor": PLAIN,
        "memory_bytes": PLAIN,
        "compute_capability": TUPLE,
        "pci_bus": PLAIN,
        "power_limit_watts": PLAIN,
        "utilization_percent": PLAIN,
        "memory_used_bytes": PLAIN,
        "temperature_celsius": PLAIN,
        "power_watts": PLAIN,
        "problem": PLAIN,
        "parent": PLAIN,
        "nvlinks": PLAIN,
    },
)

_DISK = Shape(Disk, {"path": PLAIN, "total_bytes": PLAIN, "free_bytes": PLAIN})
_INTERFACE = Shape(Interface, {"name": PLAIN, "addresses": TUPLE, "speed_mbps": PLAIN, "loopback": PLAIN})
_RDMA = Shape(RdmaPort, {"device": PLAIN, "port": PLAIN, "state": PLAIN, "link_layer": PLAIN, "rate_gbps": PLAIN})

HARDWARE = Shape(
    Hardware,
    {
        "hostname": PLAIN,
        "arch": PLAIN,
        "os": PLAIN,
        "kernel": PLAIN,
        "boot_id": PLAIN,
        "machine_id": PLAIN,
        "cpu_model": PLAIN,
        "cpus": PLAIN,
        "memory_bytes": PLAIN,
        "memory_available_bytes": PLAIN,
        "disks": _DISK.many,
        "interfaces": _INTERFACE.many,
        "gpus": _GPU.many,
        "driver_version": PLAIN,
        "cuda_version": PLAIN,
        "gpu_problem": PLAIN,
        "isolation": PLAIN,
        "warnings": TUPLE,
        "disk_problem": PLAIN,
        "rdma": _RDMA.many,
    },
)

PEER = Shape(PeerEndpoint, {"addresses": TUPLE, "port": PLAIN})

_MEMBER = Shape(GroupMember, {"rank": PLAIN, "host_id": PLAIN, "address": PLAIN, "slots": PLAIN})
GROUP = Shape(Group, {"generation": PLAIN, "master_address": PLAIN, "master_port": PLAIN, "members": _MEMBER.many})


def texts_to_column(texts: tuple[str, ...]) -> str:
    """A tuple of texts as JSON; the empty one, which most rows hold, as an empty text."""
    return json.dumps(texts) if texts else ""


def texts_from_column(column: str) -> tuple[str, ...]:
    """Read what ``texts_to_column`` wrote."""
    return tuple(json.loads(column)) if column else ()


def map_to_column(texts: Mapping[str, str]) -> str:
    """A map of texts as JSON."""
    return json.dumps(dict(texts))


def map_from_column(column: str) -> Mapping[str, str]:
    """Read what ``map_to_column`` wrote."""
    return MappingProxyType(dict(json.loads(column)))
