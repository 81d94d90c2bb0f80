"""Mistyped variables are named; those of others are not."""

from __future__ import annotations

from rallypoint.environment import unknown_variables


def test_the_nearest_name_is_given() -> None:
    environ = {"RALLYPOINT_LISTE": "x", "RALLYPOINT_ZZZ": "", "RALLYPOINT_LISTEN": "x", "HOME": "/", "LISTE": "x"}
    assert unknown_variables(environ, "RALLYPOINT_", ("listen", "http")) == [
        "the variable RALLYPOINT_LISTE is not known and is passed over; did you mean RALLYPOINT_LISTEN?",
        "the variable RALLYPOINT_ZZZ is not known and is passed over; take it away",
    ]


def test_what_others_read_or_set_is_known() -> None:
    names = ("CONTEXT", "DEBUG", "JOIN_TOKEN", "TEST_STRICT", "ALLOCATION_ID", "ATTEMPT", "MARK", "AGENT_PRICE")
    environ = {f"RALLYPOINT_{name}": "x" for name in names}
    assert unknown_variables(environ, "RALLYPOINT_", ("listen",), ("RALLYPOINT_AGENT_",)) == []
    assert unknown_variables({"RALLYPOINT_AGENT_LISTEN": "x"}, "RALLYPOINT_AGENT_", ("price",)) == []
