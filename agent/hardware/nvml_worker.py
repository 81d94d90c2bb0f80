"""Asks NVML in a process of its own, because a wedged driver can hold its caller for ever.

Run by `agent.hardware.worker`, as a file rather than a module, so that it loads nothing but this, the files
beside it that it names, and the NVML binding. One request is one JSON line on standard input,
``{"id": 1, "skip": [3], "limit": 20}``: ``skip`` names the indexes of GPUs to leave alone, ``limit`` is the time in
seconds that the reader will wait. The answer is a JSON line for the driver, one for each GPU as soon as it is read
(so that the reader knows which one never answered), and a last one with ``done`` or ``error``.

Between them, and while it waits for requests, it says what happens to the GPUs by itself, as lines like
``{"event": {"index": 0, "type": 8, "data": 79}}``: see `nvml_events`. Ends when standard input does.
"""

from __future__ import annotations

import _thread
import json
import os
import signal
import sys

TYPE_CHECKING = False  # As typing's own, without loading typing: this process stays for as long as the agent.
if TYPE_CHECKING or __name__ != "__main__":
    from agent.hardware.nvml_device import Device, failure, text
    from agent.hardware.nvml_events import Events
else:
    # Last, so that none of our files passes for one of the standard library's.
    sys.path.append(os.path.dirname(__file__))
    from nvml_device import Device, failure, text
    from nvml_events import Events

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType
    from typing import Any, TextIO

# This long past the reader's patience the kernel ends us, even inside a call into the driver: for when nobody
# is left to do it, because the agent itself was killed meanwhile.
ORPHAN_SECONDS = 10


def optional(nvml: ModuleType, call: Callable[[], str | None]) -> str | None:
    try:
        return call()
    except nvml.NVMLError:
        return None


def cuda_version(nvml: ModuleType) -> str | None:
    version = nvml.nvmlSystemGetCudaDriverVersion()
    return f"{version // 1000}.{version % 1000 // 10}" if version > 0 else None


def read_gpu(nvml: ModuleType, index: int, events: Events) -> dict[str, Any]:
    try:
        device = Device(nvml, nvml.nvmlDeviceGetHandleByIndex(index))
    except nvml.NVMLError as error:
        return {"index": index, "error": failure(error)}
    fields = device.read(index)
    fields["vitals"]["events"] = events.listen(device.handle, index)
    return {**fields, "error": device.error}


class Worker:
    """Answers requests; NVML is loaded at the first and stays: to start it can take the driver seconds."""

    def __init__(self, answers: TextIO) -> None:
        self.answers = answers
        self.one_at_a_time = _thread.allocate_lock()
        self.nvml: ModuleType | None = None
        self.events: Events | None = None

    def tell(self, said: dict[str, Any]) -> None:
        """One line; answers and events come from threads of their own."""
        line = json.dumps(said) + "\n"
        with self.one_at_a_time:
            self.answers.write(line)
            self.answers.flush()

    def say(self, request_id: Any, **fields: Any) -> None:
        self.tell({"id": request_id, **fields})

    def load(self) -> tuple[ModuleType, Events]:
        if self.nvml is None or self.events is None:
            import pynvml

            pynvml.nvmlInit()
            self.nvml, self.events = pynvml, Events(pynvml, self.tell)
        return self.nvml, self.events

    def answer(self, request_id: Any, skip: frozenset[int]) -> None:
        nvml, events = self.load()
        count = nvml.nvmlDeviceGetCount()
        driver = {
            "count": count,
            "driver_version": optional(nvml, lambda: text(nvml.nvmlSystemGetDriverVersion())),
            "cuda_version": optional(nvml, lambda: cuda_version(nvml)),
        }
        self.say(request_id, driver=driver)
        for index in range(count):
            if index not in skip:
                self.say(request_id, gpu=read_gpu(nvml, index, events))
        events.wait()
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
