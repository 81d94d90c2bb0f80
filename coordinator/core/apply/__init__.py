"""How each change alters the state: one function a change, in the module of what it is about.

Here alone the state's records and the indexes over them are written; called by ``State.apply``, and when the state is
restored.
"""

from __future__ import annotations

from coordinator.core.apply import allocations, counters, hosts, jobs
from coordinator.core.changes import DeadlineSet, GpusIdle, HostSilent, TimeServed

HANDLERS = {**jobs.HANDLERS, **allocations.HANDLERS, **hosts.HANDLERS, **counters.HANDLERS}

# Readers see nothing of these, at most of what changes with them: they make no new version.
UNSEEN = frozenset({DeadlineSet, GpusIdle, HostSilent, TimeServed})
