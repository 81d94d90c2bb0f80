"""Asks NVML in a process of its own, because a wedged driver can hold its caller for ever.

Run by `agent.hardware.worker`, as a file rather than a module, so that it loads nothing but this and the
NVML binding. One request is one JSON line on standard input, ``{"id": 1, "skip": [3], "limit": 20}``:
``skip`` names the indexes of GPUs to leave alone, ``limit`` is the time in seconds that the reader will wait.
The answer is a JSON line for the driver, one for each GPU as soon as it is read (so that the reader knows
which one never answered), and a last one with ``done`` or ``error``. Ends when standard input does.
"""

from __future__ import annotations

import json
import os
import signal
import sys

TYPE_CHECKING = False  # As typing's own, without loading typing: this process stays for as long as the agent.
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType
    from typing import Any, TextIO

# How NVML says "no value" where it returns success: -1 in an unsigned int or long.
NOT_AVAILABLE = (0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF)
# GPU_IS_LOST, RESET_REQUIRED: whichever field they come from, they are about the whole GPU.
FATAL = (15, 16)
# This long past the reader's patience the kernel ends us, even inside a call into the driver: for when nobody
# is left to do it, because the agent itself was killed meanwhile.
ORPHAN_SECONDS = 10


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
        fields = {
            "index": index,
            **self.identity(),
            "pci_bus": self.get(lambda pci: text(pci.busId), ("nvmlDeviceGetPciInfo",)),
            "nvlinks": self.nvlinks(),
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
        return {**fields, "error": self.error, **({} if instances is None else {"instances": instances})}

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

    def nvlinks(self) -> int | None:
        """How many are up; None where there are none to ask about."""
        links = range(getattr(self.nvml, "NVML_NVLINK_MAX_LINKS", 18))
        states = [self.get(number, ("nvmlDeviceGetNvLinkState", 0))]
        if states[0] is not None:
            states += [self.get(number, ("nvmlDeviceGetNvLinkState", link)) for link in links[1:]]
        up = [state for state in states if state is not None]
        return sum(up) if up else None

    def instances(self) -> list[dict[str, Any]] | None:
        """The MIG instances that the GPU is divided into; None when it is not in MIG mode."""
        if self.get(lambda modes: modes[0], ("nvmlDeviceGetMigMode",)) != 1:
            return None
        places = range(self.get(number, ("nvmlDeviceGetMaxMigDeviceCount",)) or 0)
        handles = [self.get(lambda handle: handle, ("nvmlDeviceGetMigDeviceHandleByIndex", place)) for place in places]
        return [Device(self.nvml, handle).identity() for handle in handles if handle is not None]


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


def optional(nvml: ModuleType, call: Callable[[], str | None]) -> str | None:
    try:
        return call()
    except nvml.NVMLError:
        return None


def cuda_version(nvml: ModuleType) -> str | None:
    version = nvml.nvmlSystemGetCudaDriverVersion()
    return f"{version // 1000}.{version % 1000 // 10}" if version > 0 else None


def read_gpu(nvml: ModuleType, index: int) -> dict[str, Any]:
    try:
        device = Device(nvml, nvml.nvmlDeviceGetHandleByIndex(index))
    except nvml.NVMLError as error:
        return {"index": index, "error": failure(error)}
    return device.read(index)


class Worker:
    """Answers requests; NVML is loaded at the first and stays: to start it can take the driver seconds."""

    def __init__(self, answers: TextIO) -> None:
        self.answers = answers
        self.nvml: ModuleType | None = None

    def say(self, request_id: Any, **fields: Any) -> None:
        self.answers.write(json.dumps({"id": request_id, **fields}) + "\n")
        self.answers.flush()

    def load(self) -> ModuleType:
        if self.nvml is None:
            import pynvml

            pynvml.nvmlInit()
            self.nvml = pynvml
        return self.nvml

    def answer(self, request_id: Any, skip: frozenset[int]) -> None:
        nvml = self.load()
        count = nvml.nvmlDeviceGetCount()
        driver = {
            "count": count,
            "driver_version": optional(nvml, lambda: text(nvml.nvmlSystemGetDriverVersion())),
            "cuda_version": optional(nvml, lambda: cuda_version(nvml)),
        }
        self.say(request_id, driver=driver)
        for index in range(count):
            if index not in skip:
                self.say(request_id, gpu=read_gpu(nvml, index))
        self.say(request_id, done=True)

    def handle(self, line: bytes) -> None:
        request_id = None
        try:
            request = json.loads(line)
            request_id = request["id"]
            limit, skip = float(request.get("limit", 60)), frozenset(request.get("skip", ()))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            self.say(request_id, error={"nvml": None, "text": f"request not understood: {error!r}"})
            return
        signal.setitimer(signal.ITIMER_REAL, limit + ORPHAN_SECONDS)
        try:
            self.answer(request_id, skip)
        except ImportError as error:
            self.say(request_id, error={"nvml": None, "text": str(error)})
        except Exception as error:
            # Anything else that the binding raises must be told too, rather than end us without a word.
            self.say(request_id, error={"nvml": getattr(error, "value", None), "text": str(error)})
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)


def main() -> None:
    # The answers get a descriptor of their own: a driver library that prints must not garble them.
    answers = os.fdopen(os.dup(1), "w", encoding="ascii")
    sink = os.open(os.devnull, os.O_WRONLY)
    os.dup2(sink, 1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    worker = Worker(answers)
    for line in sys.stdin.buffer:
        worker.handle(line)


if __name__ == "__main__":
    main()
