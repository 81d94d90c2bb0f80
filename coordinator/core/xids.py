"""NVIDIA's catalogue of XID errors: what each is called, and what NVIDIA has one do about it at once.

Descriptions and actions are those of "Analyzing Xid Errors with the Xid Catalog", for Ampere and newer GPUs
(https://docs.nvidia.com/deploy/xid-errors/analyzing-xid-catalog.html, read on 2026-11-23). Numbers that the catalogue
calls unused are left out: one that comes all the same is unknown. What follows for a GPU stands in ``verdicts``.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Action(Enum):
    """The catalogue's "Resolution Bucket (Immediate Action)"."""

    IGNORE = "IGNORE"
    RESTART_APP = "RESTART_APP"
    RESET_GPU = "RESET_GPU"
    RESTART_VM = "RESTART_VM"
    RESTART_BM = "RESTART_BM"
    CONTACT_SUPPORT = "CONTACT_SUPPORT"
    CHECK_MECHANICALS = "CHECK_MECHANICALS"
    CHECK_UVM = "CHECK_UVM"
    UPDATE_SWFW = "UPDATE_SWFW"
    WORKFLOW_XID_45 = "WORKFLOW_XID_45"
    WORKFLOW_XID_48 = "WORKFLOW_XID_48"
    WORKFLOW_NVLINK_ERR = "WORKFLOW_NVLINK_ERR"
    WORKFLOW_NVLINK5_ERR = "WORKFLOW_NVLINK5_ERR"
    XID_154 = "XID_154"
    NONE = "none stated"


@dataclass(frozen=True, slots=True)
class Xid:
    """One row of the catalogue."""

    code: int
    description: str
    action: Action


_PUSH_BUFFER = "Invalid or corrupted push buffer stream"
_ROWS: dict[Action, dict[int, str]] = {
    Action.IGNORE: {
        14: "Fake or injected error",
        37: "Driver firmware error",
        38: "Driver firmware error",
        43: "GPU stopped processing",
        44: "Graphics Engine fault during context switch",
        63: "GPU memory remapping event",
        66: "Illegal access by driver",
        67: "Illegal access by driver",
        92: "High single-bit ECC error rate",
        93: "Non-fatal violation of provisioned InfoROM wear limit",
        106: "SMBPBI Test Message",
        107: "SMBPBI Test Message Silent",
        121: "C2C Error",
        137: "NVLink Privilege Error",
        141: "CUDA Fast Path Error",
        152: "DLA SMMU Error",
        153: "DLA timeout Error",
        157: "Resource Retirement Failure",
        160: "Channel Retirement Event",
        161: "Channel Retirement Failure",
    },
    Action.RESTART_APP: {
        8: "GPU stopped processing",
        11: _PUSH_BUFFER,
        13: "Graphics Engine Exception",
        25: "Invalid or illegal push buffer stream",
        31: "GPU memory page fault",
        32: _PUSH_BUFFER,
        **dict.fromkeys((39, 40, 41), "Copy Engine Exception"),
        60: "Video processor exception",
        68: "NVDEC0 Exception",
        69: "Graphics Engine class error",
        **{code: f"CE{number}: Unknown Error" for number, code in enumerate((70, 71, 72, 75, 76, 77, 85), start=3)},
        80: "Corrupted data sent to GPU",
        82: "NVJPG0 Error",
        **{code: f"NVDEC{number} Error" for number, code in enumerate((83, 84, 88, 89, 96, 97, 98), start=1)},
        86: "OFA Exception",
        94: "Contained memory error",
        **{code: f"NVJPG{code - 98} Error" for code in range(99, 106)},
        **{code: f"CE{code - 116}: Unknown Error" for code in range(126, 136)},
        139: "OFA1 Error",
    },
    Action.RESET_GPU: {
        46: "GPU stopped processing",
        62: "Internal micro-controller halt",
        64: "GPU memory remapping failure",
        95: "Uncontained memory error",
        109: "Context Switch Timeout Error",
        110: "Security Fault Error",
        119: "GSP RPC Timeout",
        120: "GSP Error",
        136: "Link Training Failed",
        140: "ECC Unrecovered Error",
        143: "GPU Initialization Error",
        155: "NVLINK: SW Defined Error",
        156: "Resource Retirement Event",
        158: "GPU Fatal Timeout",
    },
    Action.RESTART_VM: {151: "Key rotation Error"},
    Action.RESTART_BM: {79: "GPU has fallen off the bus"},
    Action.CONTACT_SUPPORT: {142: "NVENC3 Error"},
    Action.CHECK_MECHANICALS: {54: "Auxiliary power is not connected to the GPU board"},
    Action.CHECK_UVM: {159: "CHI Non-Data Error"},
    Action.UPDATE_SWFW: {78: "vGPU Start Error"},
    Action.WORKFLOW_XID_45: {45: "Preemptive cleanup, due to previous errors"},
    Action.WORKFLOW_XID_48: {48: "Double Bit ECC Error"},
    Action.WORKFLOW_NVLINK_ERR: {74: "NVLink Error"},
    Action.WORKFLOW_NVLINK5_ERR: {
        144: "NVLINK: SAW Error",
        145: "NVLINK: RLW Error",
        146: "NVLINK: TLW Error",
        147: "NVLINK: TREX Error",
        148: "NVLINK: NVLPW_CTRL Error",
        149: "NVLINK: NETIR Error",
        150: "NVLINK: MSE Error",
    },
    Action.XID_154: {154: "GPU Recovery Action Changed"},
    Action.NONE: {
        162: "Power Smoothing HW Circuitry capability reengaged",
        163: "Power Smoothing HW Circuitry capability disengaged",
        164: "Power Smoothing HW Circuitry low lifetime reached",
        165: "Power Smoothing HW Circuitry lifetime exhausted",
        167: "PCIE_FATAL_TIMEOUT",
        168: "Errors found in WPR (write protected region)",
        169: "Internal micro-controller halt",
    },
}

CATALOGUE: dict[int, Xid] = {
    code: Xid(code, description, action) for action, rows in _ROWS.items() for code, description in rows.items()
}
