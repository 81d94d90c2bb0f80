"""Environment variables under our prefix that nothing reads: most likely mistyped, and never to be passed over."""

from __future__ import annotations

from collections.abc import Collection, Mapping

# Read by one command or another, or set for the nodes of jobs, one of which may start a daemon.
_KNOWN = frozenset(
    f"RALLYPOINT_{name}"
    for name in (
        *(
            "CONTEXT",
            "COORDINATOR",
            "DEBUG",
            "FAILPOINT",
            "JOIN_TOKEN",
            "AGENT_LISTEN",
            "MARK",
            "NODE",
            "LAUNCH_TICKET",
        ),
        *("ALLOCATION_ID", "ATTEMPT", "HOST_NAME", "BACKEND", "REGION", "PLACEMENT", "NODE_ADDRESS"),
    )
)
_TESTS = ("RALLYPOINT_TEST_", "RALLYPOINT_SIM_")


def unknown_variables(
    environ: Mapping[str, str], prefix: str, settings: Collection[str], others: tuple[str, ...] = ()
) -> list[str]:
    """A warning, of one line, for each variable with ``prefix`` that is none of ``settings`` (names without prefix).

    Those that begin like one of ``others`` are somebody else's.
    """
    known = {f"{prefix}{name.upper()}" for name in settings}
    passed_over = (*_TESTS, *others)
    found = sorted(
        name
        for name in environ
        if name.startswith(prefix) and name not in known | _KNOWN and not name.startswith(passed_over)
    )
    return [f"the variable {name} is not known and is passed over{_hint(name, known)}" for name in found]


def _hint(name: str, known: Collection[str]) -> str:
    import difflib

    near = difflib.get_close_matches(name, sorted(known), 1, 0.8)
    return f"; did you mean {near[0]}?" if near else "; take it away"
