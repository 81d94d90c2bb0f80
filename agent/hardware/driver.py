"""What the kernel knows of NVIDIA GPUs, read without the driver's library: for when that is missing or wedged."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_UNIFIED = "dev/nvidia-uvm"
_NVIDIA = "0x10de"
_DISPLAY_CLASSES = ("0x0300", "0x0302")


@dataclass(frozen=True, slots=True)
class PciGpu:
    """An NVIDIA GPU on the PCI bus, and the name of the kernel driver that holds it."""

    address: str
    driver: str | None


@dataclass(frozen=True, slots=True)
class DriverFacts:
    """The kernel's side; ``module_version`` is ``None`` unless NVIDIA's module is loaded, ``denied`` device
    nodes are those that this user may not open for reading and writing, ``lacking`` ones are not there though CUDA
    needs them.
    """

    pci_gpus: tuple[PciGpu, ...] = ()
    module_version: str | None = None
    denied: tuple[str, ...] = ()
    lacking: tuple[str, ...] = ()


def read_driver_facts(root: Path = Path("/")) -> DriverFacts:
    """Look under ``root``; what is not there or can't be read counts as absent."""
    version = _module_version(root)
    lacking = () if version is None or (root / _UNIFIED).exists() else (f"/{_UNIFIED}",)
    return DriverFacts(pci_gpus(root), version, _denied(root), lacking)


def pci_gpus(root: Path = Path("/")) -> tuple[PciGpu, ...]:
    """The NVIDIA GPUs on the PCI bus, by address."""
    devices = sorted((root / "sys/bus/pci/devices").glob("*"))
    return tuple(PciGpu(device.name, _driver(device)) for device in devices if _is_gpu(device))


def _is_gpu(device: Path) -> bool:
    return _read(device / "vendor") == _NVIDIA and _read(device / "class").startswith(_DISPLAY_CLASSES)


def _driver(device: Path) -> str | None:
    try:
        return os.readlink(device / "driver").rpartition("/")[2]
    except OSError:
        return None


def _module_version(root: Path) -> str | None:
    return _read(root / "sys/module/nvidia/version") or None


def _denied(root: Path) -> tuple[str, ...]:
    nodes = (root / "dev").glob("nvidia*")
    return tuple(sorted(str(n) for n in nodes if n.is_char_device() and not os.access(n, os.R_OK | os.W_OK)))


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except (OSError, ValueError):
        return ""
