"""The nodes of a job as a table: which of them, in which order, with which columns."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

import click
from rallypoint.v1 import types_pb2 as pb

from coordinator.cli import words
from coordinator.cli.table import print_table

if TYPE_CHECKING:
    from coordinator.client import Client

# So many nodes are shown unless others are asked for, and their last lines looked for where more are.
SHOWN = 50
LAST_LINES = 1000
# What people look for first.
_FIRST = (
    pb.NODE_STATE_FAILED,
    pb.NODE_STATE_STOPPING,
    pb.NODE_STATE_RUNNING,
    pb.NODE_STATE_PLACED,
    pb.NODE_STATE_PENDING,
    pb.NODE_STATE_STOPPED,
    pb.NODE_STATE_DONE,
)
_STATES = {pb.NodeState.Name(state).removeprefix("NODE_STATE_").lower(): state for state in _FIRST}
_RANKS = re.compile(r"([0-9]{1,7})(?:-([0-9]{1,7}))?")

_COLUMNS: dict[str, Callable[[pb.Node], str | float]] = {
    "rank": lambda node: node.rank,
    "state": words.node_state,
    "host": lambda node: node.host_name,
    "exit": lambda node: node.exit_code if node.HasField("exit_code") else "",
    "attempt": lambda node: node.attempt,
    "ran": lambda node: node.ended_at - node.started_at if node.started_at and node.ended_at else "",
    "last": lambda node: node.last_line,
    "variant": lambda node: node.variant,
    "group": lambda node: node.group,
}
# What nodes of one job may differ in, shown where they do.
_KINDS = ("group", "variant")
# What a narrow terminal can do without first.
_LEAST = ("RAN FOR", "ATTEMPT")


def choose(client: Client, job: pb.Job, which: str, *, everything: bool = False) -> list[pb.Node]:
    """The nodes that are asked for: ``all``, those in one state, or ranks; ``""``: a few, what failed first, or
    ``everything``. Raises ``click.BadParameter``."""
    # A long matrix is not told with its job, only each node's own values.
    parameters = job.spec.HasField("matrix") or any(node.parameters for node in client.nodes(job.id, limit=1))
    if which in ("", "all"):
        if everything or which:
            return list(client.nodes(job.id, last_lines=parameters and job.spec.nodes <= LAST_LINES))
        return _first(client, job, parameters)
    if which in _STATES:
        count = getattr(job.counts, which)
        return list(client.nodes(job.id, states=[_STATES[which]], last_lines=parameters and count <= LAST_LINES))
    return [
        node
        for first, end in _ranks(which)
        for node in client.nodes(job.id, ranks=(first, end), last_lines=parameters and end - first <= LAST_LINES)
    ]


def _first(client: Client, job: pb.Job, last_lines: bool) -> list[pb.Node]:
    if job.spec.nodes <= SHOWN:
        return list(client.nodes(job.id, last_lines=last_lines))
    found: list[pb.Node] = []
    for state in _FIRST:
        found += client.nodes(job.id, states=[state], limit=SHOWN - len(found), last_lines=last_lines)
    return found


def _ranks(text: str) -> list[tuple[int, int]]:
    found = []
    for part in text.split(","):
        match = _RANKS.fullmatch(part.strip())
        if match is None:
            known = ", ".join(_STATES)
            raise click.BadParameter(
                f"{text!r} is neither all, nor a state ({known}), nor ranks like 0-99,200", param_hint="--nodes"
            )
        first = int(match[1])
        found.append((first, int(match[2] or first) + 1))
    return found


def sort_nodes(nodes: list[pb.Node], column: str) -> list[pb.Node]:
    """By a column or a parameter, numbers as numbers, what has none last; ``-column``: the greatest first.

    Raises ``click.BadParameter`` for one that there is not.
    """
    if not column:
        return nodes
    name = column.removeprefix("-")
    parameters = {parameter for node in nodes for parameter in node.parameters}
    if name not in _COLUMNS and name not in parameters:
        known = ", ".join([*sorted(parameters), *_COLUMNS])
        raise click.BadParameter(f"there is no column {name!r}; columns are {known}", param_hint="--sort")
    if name in parameters:
        keyed = [(_key(node.parameters.get(name, "")), node) for node in nodes]
    else:
        keyed = [(_key(_COLUMNS[name](node)), node) for node in nodes]
    known_ones = [each for each in keyed if each[0] is not None]
    known_ones.sort(key=lambda each: each[0] or (0, 0.0, ""), reverse=column.startswith("-"))
    return [node for _, node in known_ones] + [node for key, node in keyed if key is None]


def _key(value: str | float) -> tuple[int, float, str] | None:
    """Numbers before words."""
    if value == "":
        return None
    try:
        return 0, float(value), ""
    except ValueError:
        return 1, 0.0, str(value)


def print_nodes(nodes: list[pb.Node], *, to_stderr: bool = False) -> None:
    """A table of nodes, with columns for group, variant, parameters and the last line of output where there are any."""
    names = list(dict.fromkeys(name for node in nodes for name in sorted(node.parameters)))
    kinds = [kind for kind in _KINDS if any(getattr(node, kind) for node in nodes)]
    last = any(node.last_line for node in nodes)
    rows: list[list[str]] = []
    for node in nodes:
        code = str(node.exit_code) if node.HasField("exit_code") else ""
        ran = words.age(node.started_at, node.ended_at)
        values = [*(getattr(node, kind) for kind in kinds), *(node.parameters.get(name, "") for name in names)]
        row = [str(node.rank), *values, words.node_state(node), node.host_name, code, str(node.attempt), ran]
        rows.append([*row, *([node.last_line] if last else []), node.reason])
        for copy in node.copies:
            if copy.attempt != node.attempt:
                # Below the copy that leads the node.
                row = ["", *("" for _ in values), words.node_state(copy), copy.host_name, "", str(copy.attempt)]
                rows.append([*row, words.age(copy.started_at), *([""] if last else []), copy.reason])
    titles = ["RANK", *(name.upper() for name in [*kinds, *names]), "STATE", "HOST", "EXIT", "ATTEMPT", "RAN FOR"]
    titles += [*(["LAST LINE"] if last else []), "REASON"]
    own = ["RANK", "STATE", "REASON", "LAST LINE", "HOST", "EXIT"]
    important = [*own, *(title for title in titles if title not in (*own, *_LEAST)), *_LEAST]
    print_table(titles, rows, important=important, to_stderr=to_stderr)
