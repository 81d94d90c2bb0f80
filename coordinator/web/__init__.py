"""The coordinator over HTTPS: web page, JSON, live events, logs, metrics and probes. Read-only, except for signing in.

It sees the engine only through ``coordinator.views.Reader`` and the logs only through ``LogReader``. Words owned here:
*session* (a browser that showed a user token), *document* (one versioned JSON shape), *change* (what differs between
two documents).
"""

from coordinator.web.app import make_app
from coordinator.web.ports import Identity, LogReader

__all__ = ["Identity", "LogReader", "make_app"]
