"""Every way in which the GPUs of a host can be out of reach, with its cause and the way out."""

from __future__ import annotations

from dataclasses import dataclass

from agent.hardware.model import Problem

REBOOT_GPU = (
    "stop what uses it and run 'nvidia-smi --gpu-reset -i INDEX'; if that fails, reboot the host, "
    "and if it comes back, have the card, its power and its slot checked"
)


@dataclass(frozen=True, slots=True)
class NvmlFailure:
    """What NVML refused with: its error number (``None`` if it was not NVML that failed) and its text."""

    number: int | None
    text: str


BINDING_BROKEN = "reinstall the agent, or its Python package nvidia-ml-py, in the environment that it runs in"

_DRIVER = {
    4: Problem(
        "nvml-no-permission",
        "the NVIDIA driver refuses this user",
        "give the agent's user read and write access to /dev/nvidiactl and /dev/nvidia0 and on (often: the "
        "groups 'video' and 'render'), and allow these devices in its container or systemd unit",
    ),
    9: Problem(
        "driver-not-loaded",
        "NVIDIA's library is installed but the kernel driver is not loaded",
        "run 'modprobe nvidia' and see 'dmesg | grep -i nvrm'; after a kernel update build the module "
        "again ('dkms autoinstall'), with Secure Boot sign it; in a container, start it with "
        "GPU access ('--gpus all')",
    ),
    12: Problem(
        "nvml-library-missing",
        "libnvidia-ml.so.1 was not found",
        "install the NVIDIA driver, or in a container start it with GPU access ('--gpus all' and "
        "NVIDIA_DRIVER_CAPABILITIES=compute,utility)",
    ),
    15: Problem("gpu-lost", "a GPU has fallen off the bus and blocks the driver", REBOOT_GPU),
    18: Problem(
        "driver-version-mismatch",
        "the loaded kernel driver and the installed NVIDIA library are of different versions",
        "the driver was updated while loaded: reboot, or stop all GPU programs and run "
        "'rmmod nvidia_uvm nvidia_drm nvidia_modeset nvidia && modprobe nvidia'",
    ),
}


def driver_problem(failure: NvmlFailure) -> Problem:
    """What it means that NVML as a whole failed so."""
    if failure.number is None:
        return Problem("nvml-binding-broken", f"NVML could not be asked: {failure.text}", BINDING_BROKEN)
    known = _DRIVER.get(failure.number)
    if known is not None:
        return known
    return Problem(
        "nvml-failed",
        f"the NVIDIA driver failed: {failure.text} (NVML error {failure.number})",
        "see what 'nvidia-smi' and 'dmesg | grep -i -e nvrm -e xid' say; a reboot often mends it",
    )


def gpu_problem(failure: NvmlFailure) -> Problem:
    """What it means that one GPU failed so."""
    if failure.number == 15:
        return Problem("gpu-lost", "it has fallen off the bus", REBOOT_GPU)
    if failure.number == 16:
        return Problem("gpu-needs-reset", "it must be reset before it can be used again", REBOOT_GPU)
    if failure.number == 4:
        return Problem(
            "gpu-no-permission",
            "the driver refuses this user",
            "give the agent's user read and write access to its /dev/nvidiaN, also in its container or systemd unit",
        )
    if failure.number is None:
        return Problem("nvml-binding-broken", f"it could not be asked: {failure.text}", BINDING_BROKEN)
    return Problem(
        "gpu-failed", f"the driver cannot reach it: {failure.text} (NVML error {failure.number})", REBOOT_GPU
    )


def unlisted() -> Problem:
    """A GPU that was there and that the driver no longer lists."""
    return Problem("gpu-lost", "it has fallen off the bus: the driver no longer lists it", REBOOT_GPU)


def no_instance() -> Problem:
    """A GPU in MIG mode of which no instance was made, or none is visible here."""
    return Problem(
        "mig-empty",
        "it is in MIG mode, and has no instance that could be used here",
        "make some ('nvidia-smi mig -i INDEX -cgi 19 -C'), or end the mode ('nvidia-smi -i INDEX -mig 0')",
    )


def hung(seconds: float, index: int | None) -> Problem:
    """NVML did not answer; ``index`` is the GPU it was asked about, ``None`` for the driver as a whole."""
    whom = "the NVIDIA driver" if index is None else f"the NVIDIA driver, asked about GPU {index},"
    return Problem(
        "nvml-hung",
        f"{whom} did not answer within {seconds:g} s",
        "it is asked again by itself; if it stays so, see 'dmesg | grep -i -e nvrm -e xid' and reboot",
    )


def stuck(pid: int) -> Problem:
    """The worker cannot even be killed: it sleeps inside the driver."""
    return Problem(
        "nvml-stuck",
        f"the NVIDIA driver holds process {pid} so that it cannot be killed",
        "reboot the host: the driver is wedged (see 'dmesg | grep -i -e nvrm -e xid')",
    )


def crashed(status: int, index: int | None) -> Problem:
    """The worker ended by itself with ``status`` (negative: a signal) instead of answering."""
    whom = "" if index is None else f" about GPU {index}"
    how = f"signal {-status}" if status < 0 else f"code {status}"
    return Problem(
        "nvml-crashed",
        f"the process that asks NVML{whom} ended with {how}",
        "it is started again by itself; if it stays so, reinstall the NVIDIA driver with its library",
    )


def garbled(what: str) -> Problem:
    """The worker said something that is no answer."""
    return Problem("nvml-binding-broken", f"NVML's answer was not understood: {what}", BINDING_BROKEN)
