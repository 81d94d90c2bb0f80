"""InfiniBand and RoCE ports, as the kernel shows them under ``/sys/class/infiniband``. Nothing in here fails."""

from __future__ import annotations

import math
from pathlib import Path

from agent.hardware.model import RdmaPort


def rdma_ports(sys: Path = Path("/sys")) -> tuple[RdmaPort, ...]:
    """Every port of every device, by name and number; none where the kernel has no such devices."""
    folders = _listed(sys / "class/infiniband")
    ports = [(device, port) for device in folders for port in _listed(device / "ports") if port.name.isdecimal()]
    return tuple(_port(device.name, port) for device, port in sorted(ports, key=lambda p: (p[0], int(p[1].name))))


def _listed(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _port(device: str, folder: Path) -> RdmaPort:
    return RdmaPort(
        device=device,
        port=int(folder.name),
        # "4: ACTIVE"
        state=_text(folder / "state").rpartition(":")[2].strip(),
        link_layer=_text(folder / "link_layer"),
        rate_gbps=_rate(_text(folder / "rate")),
    )


def _text(file: Path) -> str:
    try:
        return file.read_text(errors="replace").strip()
    except OSError:
        return ""


def _rate(text: str) -> float | None:
    """``200 Gb/sec (4X HDR)`` is 200."""
    try:
        rate = float(text.split()[0])
    except (ValueError, IndexError):
        return None
    return rate if math.isfinite(rate) and rate > 0 else None
