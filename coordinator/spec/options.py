"""The options of a command line that say what a task is; they override what its file says."""

from __future__ import annotations

from dataclasses import dataclass

from coordinator.spec.document import Document
from coordinator.spec.problems import Problem, ValuePath

_PATHS: dict[str, ValuePath] = {
    "name": ("name",),
    "nodes": ("nodes",),
    "placement": ("placement",),
    "gpus": ("resources", "gpu"),
    "cpus": ("resources", "cpu"),
    "memory": ("resources", "memory"),
    "working_dir": ("working_dir",),
    "max_duration": ("max_duration",),
    "stop_duration": ("stop_duration",),
    "max_price": ("max_price",),
    "spot_policy": ("spot_policy",),
    "optimize": ("optimize",),
    "near": ("near",),
    "array": ("array",),
    "each_line": ("each_line",),
    "max_running": ("max_running",),
    "schedule": ("schedule",),
    "budget": ("budget",),
    "priority": ("priority",),
    "preemptible": ("preemptible",),
}
_LISTS = {
    "backend": "backends",
    "region": "regions",
    "fleet": "fleets",
    "host": "hosts",
    "label": "labels",
    "after": "after",
}


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says, as it was typed; None and empty mean "not given". Options override the file."""

    name: str | None = None
    nodes: str | None = None
    placement: str | None = None
    gpus: str | None = None
    cpus: str | None = None
    memory: str | None = None
    working_dir: str | None = None
    max_duration: str | None = None
    stop_duration: str | None = None
    env: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    backend: tuple[str, ...] = ()
    region: tuple[str, ...] = ()
    fleet: tuple[str, ...] = ()
    host: tuple[str, ...] = ()
    label: tuple[str, ...] = ()
    max_price: str | None = None
    spot_policy: str | None = None
    optimize: str | None = None
    near: str | None = None
    grid: tuple[str, ...] = ()
    array: str | None = None
    each_line: str | None = None
    max_running: str | None = None
    after: tuple[str, ...] = ()
    schedule: str | None = None
    budget: str | None = None
    priority: str | None = None
    preemptible: str | None = None


def overridden(document: Document, options: Options, problems: list[Problem]) -> Document:
    """The document with what the options say in it; what is wrong with them is added to ``problems``."""
    data, places = dict(document.data), dict(document.places)
    for option, path in _PATHS.items():
        text = getattr(options, option)
        if text is None:
            continue
        places[path] = f"--{option.replace('_', '-')}"
        if len(path) == 1:
            data[str(path[0])] = text
        else:
            section = data.get(str(path[0]))
            data[str(path[0])] = {**(section if isinstance(section, dict) else {}), str(path[1]): text}
    for option, field in _LISTS.items():
        if texts := getattr(options, option):
            data[field] = list(texts)
            # Places inside of the file's own list are no longer those of its items.
            places = {path: place for path, place in places.items() if path[:1] != (field,)}
            places[field,] = f"--{option}"
    _put_grid(data, places, options, problems)
    _imply(data, places, options)
    return Document(data, places)


def _put_grid(data: dict[str, object], places: dict[ValuePath, str], options: Options, problems: list[Problem]) -> None:
    found: dict[str, object] = {}
    for text in options.grid:
        name, equals, values = text.partition("=")
        if not equals or name in ("include", "exclude"):
            what = f"{text!r} is not a parameter with values; write for example lr=1e-3,1e-4 or seed=1..4"
            problems.append(Problem("--grid", what))
        elif name in found:
            problems.append(Problem("--grid", f"{name} is given twice; write its values once, divided by ','"))
        else:
            found[name] = values.split(",") if "," in values else values
            places["matrix", name] = "--grid"
    if found:
        given = data.get("matrix")
        data["matrix"] = {**(given if isinstance(given, dict) else {}), **found}
        places.setdefault(("matrix",), "--grid")


def _imply(data: dict[str, object], places: dict[ValuePath, str], options: Options) -> None:
    """Values for nodes that were typed make an ``any`` job with as many nodes, unless something else is said."""
    option = next((name for name in ("grid", "array", "each_line") if getattr(options, name)), None)
    if option is None:
        return
    if data.get("placement") is None:
        data["placement"] = "any"
        places["placement",] = f"--{option.replace('_', '-')}"
    if options.nodes is None:
        data.pop("nodes", None)
