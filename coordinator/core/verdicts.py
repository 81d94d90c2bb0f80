"""What a sign means for a GPU: how hard it is taken out of service, whether its whole host is, and what we advise.

Nothing here resets anything: what would mend it is told to the host's owner in words.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from coordinator.core.evidence import Condition, Evidence, Sign
from coordinator.core.xids import CATALOGUE, Action


class Grip(IntEnum):
    """How hard. PROGRAM and WATCH alone keep no work away, the three others fence what they are about."""

    # Looks like the program's fault, until other programs meet it on the same GPU.
    PROGRAM = 0
    # Suspect; it may pass.
    WATCH = 1
    # Suspect; fenced when it comes again.
    REPEAT = 2
    # No new work; what runs goes on to its end.
    LET_END = 3
    # No new work; what runs is stopped with its grace, and placed elsewhere.
    MOVE = 4
    # No new work; what runs computes nothing of worth any more: it is killed, and placed elsewhere.
    END = 5


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a sign means. ``host``: for the whole host; ``blames``: whoever failed on it did so by no fault of its own.

    ``harmless``: it is told also when a program is stopped from outside, and never enough to fence a GPU.
    """

    grip: Grip
    words: str
    advice: str = ""
    host: bool = False
    blames: bool = False
    harmless: bool = False

    @property
    def text(self) -> str:
        """What it is and what would help, in one line."""
        return f"{self.words} ({self.advice})" if self.advice else self.words


_ADVICE = {
    Action.RESET_GPU: "NVIDIA asks for a reset of the GPU",
    Action.WORKFLOW_XID_48: "NVIDIA asks for a reset of the GPU",
    Action.WORKFLOW_NVLINK_ERR: "NVIDIA asks for a reset of the GPU, or a reboot",
    Action.WORKFLOW_NVLINK5_ERR: "NVIDIA's NVLink workflow says by the registers what is to be done",
    Action.RESTART_BM: "NVIDIA asks for a restart of the machine",
    Action.RESTART_VM: "NVIDIA asks for a restart of the virtual machine",
    Action.CONTACT_SUPPORT: "NVIDIA asks to contact its support",
    Action.CHECK_MECHANICALS: "NVIDIA asks to check power and seat of the board",
    Action.CHECK_UVM: "NVIDIA asks to look into unified memory",
    Action.UPDATE_SWFW: "NVIDIA asks for newer software and firmware",
    Action.RESTART_APP: "NVIDIA asks for a restart of the program",
}
_GRIP = {
    Action.RESTART_APP: Grip.PROGRAM,
    Action.WORKFLOW_XID_45: Grip.PROGRAM,
    Action.WORKFLOW_XID_48: Grip.END,
    Action.RESET_GPU: Grip.END,
    Action.RESTART_BM: Grip.END,
    Action.RESTART_VM: Grip.MOVE,
    Action.CONTACT_SUPPORT: Grip.MOVE,
    Action.CHECK_MECHANICALS: Grip.MOVE,
    Action.WORKFLOW_NVLINK_ERR: Grip.MOVE,
    Action.WORKFLOW_NVLINK5_ERR: Grip.REPEAT,
}
# Where the catalogue's action alone does not say it.
_XID_GRIP = {
    # First signs of a program's own mistake: the GPU stays sound.
    43: Grip.PROGRAM,
    # It asks for a reset, but a kernel that never ends is the most common cause.
    109: Grip.PROGRAM,
    # The program that met it is lost, the GPU may go on until a reset suits (94); rows that are remapped are used up.
    94: Grip.REPEAT,
    92: Grip.REPEAT,
    # Programs go on, on a link less or a row that is not to be had: no reason to kill them.
    64: Grip.MOVE,
    136: Grip.MOVE,
    155: Grip.MOVE,
    156: Grip.LET_END,
}
_HARMLESS = frozenset({43, 45})

_RESET = "a reset of the GPU would mend it"
_SIGNS = {
    Sign.ECC_UNCORRECTABLE: Verdict(Grip.LET_END, "uncorrectable memory errors", _RESET, blames=True),
    Sign.REMAP_PENDING: Verdict(Grip.WATCH, "memory rows are to be remapped", "done by the next reset of the GPU"),
    Sign.REMAP_FAILED: Verdict(Grip.LET_END, "a memory row could not be remapped", "the GPU should be replaced"),
    Sign.THERMAL_SLOWDOWN: Verdict(Grip.WATCH, "slowed down by its temperature", "its cooling should be looked at"),
    Sign.POWER_BRAKE: Verdict(Grip.WATCH, "slowed down by the power supply", "the host's power should be looked at"),
    Sign.NVLINK_ERRORS: Verdict(Grip.REPEAT, "NVLink errors", "its links should be looked at"),
    Sign.PCIE_WIDTH: Verdict(Grip.WATCH, "has fewer PCIe lanes than it could", "its slot should be looked at"),
    Sign.GPU_COUNT: Verdict(Grip.WATCH, "has other GPUs than before", "a restart of the machine may bring them back"),
    Sign.OFF_THE_BUS: Verdict(
        Grip.END, "a GPU has fallen off the bus", "a restart of the machine may bring it back", host=True, blames=True
    ),
    Sign.MEMORY_HELD: Verdict(
        Grip.LET_END, "memory is still held though no node has the GPU", "end what holds it, or reset the GPU"
    ),
    Sign.DRIVER: Verdict(
        Grip.MOVE, "the GPU driver does not work", "load it anew, or restart the machine", host=True, blames=True
    ),
    Sign.TEST_FAILED: Verdict(Grip.LET_END, "a test failed", "see 'agent check' on the host"),
    Sign.OTHER: Verdict(Grip.WATCH, "the agent tells of something that this release does not know"),
}
# By nvmlDeviceGpuRecoveryAction_t.
_RECOVERY = {
    1: Verdict(Grip.END, "the driver asks for a reset of the GPU", blames=True),
    2: Verdict(Grip.END, "the driver asks for a reboot of the machine", host=True, blames=True),
    3: Verdict(Grip.MOVE, "the driver asks that nothing talks to the GPU over NVLink"),
    4: Verdict(Grip.MOVE, "the driver asks that the GPU is drained and reset"),
    6: Verdict(Grip.END, "the driver asks for a reset of the GPU's bus", host=True, blames=True),
    7: Verdict(Grip.END, "the driver asks for a reboot of the system", host=True, blames=True),
}


def is_fine(seen: Evidence | Condition) -> bool:
    """Whether it says that all is well: a test that passed, or that the driver asks for nothing."""
    return seen.sign is Sign.TEST_PASSED or (seen.sign is Sign.RECOVERY_ACTION and seen.code == 0)


def verdict(seen: Evidence | Condition) -> Verdict:
    """What a sign means."""
    if seen.sign is Sign.XID:
        return _of_xid(seen.code)
    if seen.sign is Sign.RECOVERY_ACTION:
        unknown = Verdict(Grip.WATCH, f"the driver asks for recovery action {seen.code}")
        return _RECOVERY.get(seen.code, unknown)
    return _SIGNS.get(seen.sign, _SIGNS[Sign.OTHER])


def _of_xid(code: int) -> Verdict:
    known = CATALOGUE.get(code)
    if known is None:
        return Verdict(Grip.WATCH, f"XID {code}, which NVIDIA's catalogue of this release does not have")
    grip = _XID_GRIP.get(code, _GRIP.get(known.action, Grip.WATCH))
    return Verdict(
        grip=grip,
        words=f"XID {code}, {known.description}",
        advice=_ADVICE.get(known.action, ""),
        host=known.action is Action.RESTART_BM,
        blames=grip >= Grip.LET_END or code == 94,
        harmless=code in _HARMLESS,
    )
