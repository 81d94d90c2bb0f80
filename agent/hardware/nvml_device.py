"""One GPU as NVML tells it, each field read on its own. Part of the worker process: see `nvml_worker`."""

from __future__ import annotations

TYPE_CHECKING = False  # As typing's own, without loading typing: this process stays for as long as the agent.
if TYPE_CHECKING or "." in __name__:
    from agent.hardware.nvml_vitals import vitals
else:
    from nvml_vitals import vitals

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType
    from typing import Any

# How NVML says "no value" where it returns success: -1 in an unsigned int or long.
NOT_AVAILABLE = (0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF)
# GPU_IS_LOST, RESET_REQUIRED: whichever field they come from, they are about the whole GPU.
FATAL = (15, 16)


class Device:
    """One GPU's fields, each read on its own: what the driver refuses is ``None``."""

    def __init__(self, nvml: ModuleType, handle: Any) -> None:
        self.nvml = nvml
        self.handle = handle
        self.error: dict[str, Any] | None = None

    def get(self, pick: Callable[[Any], Any], *calls: tuple[Any, ...]) -> Any:
        """``pick`` of the first call ``(name, *args)`` that the driver and the binding both know."""
        for name, *args in calls:
            try:
                return pick(getattr(self.nvml, name)(self.handle, *args))
            except self.nvml.NVMLError as error:
                if error.value in FATAL:
                    self.error = self.error or failure(error)
            except (AttributeError, ValueError, TypeError):
                # A binding without this function, or an answer that is no text: as good as not supported.
                continue
        return None

    def read(self, index: int) -> dict[str, Any]:
        sensor = self.nvml.NVML_TEMPERATURE_GPU
        links = self.links()
        fields = {
            "index": index,
            **self.identity(),
            "pci_bus": self.get(lambda pci: text(pci.busId), ("nvmlDeviceGetPciInfo",)),
            "nvlinks": None if links is None else sum(links),
            "power_limit_milliwatts": self.get(
                positive, ("nvmlDeviceGetPowerManagementLimit",), ("nvmlDeviceGetEnforcedPowerLimit",)
            ),
            "power_milliwatts": self.get(number, ("nvmlDeviceGetPowerUsage",)),
            "utilization_percent": self.get(lambda rates: number(rates.gpu), ("nvmlDeviceGetUtilizationRates",)),
            "temperature_c": self.get(
                number, ("nvmlDeviceGetTemperatureV", sensor), ("nvmlDeviceGetTemperature", sensor)
            ),
        }
        instances = self.instances()
        return {**fields, "vitals": vitals(self, links), **({} if instances is None else {"instances": instances})}

    def identity(self) -> dict[str, Any]:
        """What a GPU and a MIG instance both tell."""
        memory = (
            ("nvmlDeviceGetMemoryInfo", getattr(self.nvml, "nvmlMemory_v2", None)),
            ("nvmlDeviceGetMemoryInfo",),
        )
        return {
            "uuid": self.get(text, ("nvmlDeviceGetUUID",)),
            "name": self.get(text, ("nvmlDeviceGetName",)),
            "compute_capability": self.get(capability, ("nvmlDeviceGetCudaComputeCapability",)),
            "memory_bytes": self.get(lambda info: positive(info.total), *memory),
            "memory_used_bytes": self.get(lambda info: number(info.used) if info.total else None, *memory),
        }

    def links(self) -> list[bool] | None:
        """Which NVLinks are up, by their numbers; None where there are none to ask about."""
        first = self.get(number, ("nvmlDeviceGetNvLinkState", 0))
        if first is None:
            return None
        others = range(1, getattr(self.nvml, "NVML_NVLINK_MAX_LINKS", 18))
        states = [first, *(self.get(number, ("nvmlDeviceGetNvLinkState", link)) for link in others)]
        return [bool(state) for state in states if state is not None]

    def instances(self) -> list[dict[str, Any]] | None:
        """The MIG instances that the GPU is divided into; None when it is not in MIG mode."""
        if self.get(lambda modes: modes[0], ("nvmlDeviceGetMigMode",)) != 1:
            return None
        places = range(self.get(number, ("nvmlDeviceGetMaxMigDeviceCount",)) or 0)
        handles = [self.get(lambda handle: handle, ("nvmlDeviceGetMigDeviceHandleByIndex", place)) for place in places]
        parts = [Device(self.nvml, handle) for handle in handles if handle is not None]
        return [{**part.identity(), "gpu_instance": part.gpu_instance()} for part in parts]

    def gpu_instance(self) -> int | None:
        """The number by which events name the GPU instance that this MIG device is in."""
        told: int | None = self.get(number, ("nvmlDeviceGetGpuInstanceId",))
        return told


def number(value: int) -> int | None:
    return None if value in NOT_AVAILABLE else value


def positive(value: int) -> int | None:
    """For what cannot be zero: a driver that says so does not know."""
    return number(value) or None


def text(value: str | bytes) -> str | None:
    if isinstance(value, bytes):
        value = value.decode()
    return value or None


def capability(pair: tuple[int, int]) -> list[int] | None:
    return list(pair) if pair[0] > 0 else None


def failure(error: Any) -> dict[str, Any]:
    return {"nvml": error.value, "text": str(error)}
