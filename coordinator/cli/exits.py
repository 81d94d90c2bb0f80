"""Exit codes. ``submit`` and ``wait`` end with the job's own code; docs/cli.md says how clashes are told apart."""

from __future__ import annotations

OK = 0
JOB_FAILED = 1
"""The job failed without an exit code of its own (its host was lost, it could not be started)."""
NOT_ALL_UPGRADED = 1
"""A host was not upgraded: it failed, was rolled back or left out (with --all: not for want of the installer)."""
USAGE = 2
TASK_WRONG = 65
NOT_FOUND = 66
UNREACHABLE = 69
INTERNAL = 70
IMPOSSIBLE = 73
"""No host, however idle, could ever hold the job."""
REFUSED = 74
TIMED_OUT = 75
JOB_STOPPED = 76
"""A user stopped the job."""
NOT_AUTHORISED = 77
NOT_CONFIGURED = 78
INTERRUPTED = 130
BROKEN_PIPE = 141
