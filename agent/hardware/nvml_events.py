"""What NVML says by itself: XIDs, and that a GPU has changed. Part of the worker process: see `nvml_worker`."""

from __future__ import annotations

import _thread
import time

TYPE_CHECKING = False  # As typing's own, without loading typing: this process stays for as long as the agent.
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType
    from typing import Any

XID = 8
# Besides XIDs: double-bit ECC errors, a GPU that became unavailable, a new recovery action. What they mean is in the
# counters and fields, so they only say that it is time to read those. Corrected errors are everyday, and left out.
WANTED = XID | 0x2 | 0x4000 | 0x8000
TIMEOUT = 10
WAIT_MILLISECONDS = 10_000
# A lost GPU lets each wait fail at once.
PAUSE_SECONDS = 5
WHOLE_GPU = 0xFFFFFFFF


class Events:
    """Listens to GPUs in threads of their own, so that a reading never waits for an event, nor an event for one."""

    def __init__(self, nvml: ModuleType, tell: Callable[[dict[str, Any]], None]) -> None:
        self.nvml = nvml
        self.tell = tell
        self.heard: dict[int, bool] = {}
        # What is listened to from the next `wait` on, and who stands behind which handle.
        self.set: Any = None
        self.owners: dict[int, int] = {}

    def listen(self, handle: Any, index: int) -> bool:
        """Have a GPU's events told; whether XIDs are among them."""
        if index not in self.heard:
            self.heard[index] = self.register(handle, index)
        return self.heard[index]

    def register(self, handle: Any, index: int) -> bool:
        try:
            types = WANTED & self.nvml.nvmlDeviceGetSupportedEventTypes(handle)
            if types & XID:
                self.set = self.set or self.nvml.nvmlEventSetCreate()
                self.nvml.nvmlDeviceRegisterEvents(handle, types, self.set)
                self.owners[self.address(handle)] = index
        except (self.nvml.NVMLError, AttributeError):
            return False
        return bool(types & XID)

    def wait(self) -> None:
        """Listen to those that are new: one thread for each set, to which nothing is added from then on."""
        if self.set is not None:
            _thread.start_new_thread(self.run, (self.set, self.owners))
            self.set, self.owners = None, {}

    def run(self, events: Any, owners: dict[int, int]) -> None:
        """Tell what comes; ends with the process."""
        while True:
            try:
                self.pass_on(self.nvml.nvmlEventSetWait(events, WAIT_MILLISECONDS), owners)
            except self.nvml.NVMLError as error:
                if error.value != TIMEOUT:
                    time.sleep(PAUSE_SECONDS)

    def pass_on(self, event: Any, owners: dict[int, int]) -> None:
        index = owners.get(self.address(event.device))
        if index is not None:
            instance = None if event.gpuInstanceId == WHOLE_GPU else event.gpuInstanceId
            told = {"index": index, "type": event.eventType, "data": event.eventData, "gpu_instance": instance}
            self.tell({"event": told})

    @staticmethod
    def address(handle: Any) -> int:
        """What tells handles apart: the binding makes a new object of one at each call."""
        import ctypes

        return ctypes.cast(handle, ctypes.c_void_p).value or 0
