"""What is said about a field that is not known: dstack's own, a word that is nearly one, or what there is."""

from __future__ import annotations

from pydantic import BaseModel

from coordinator.spec import (
    model,
    model_choice,
    model_container,
    model_failures,
    model_many,
    model_preflight,
    model_resources,
)
from coordinator.spec.problems import ValuePath, nearest
from coordinator.spec.unsupported import DSTACK_FIELDS

_RESOURCES: dict[str, type[BaseModel]] = {
    "resources": model_resources.Resources,
    "resources.cpu": model_resources.Cpu,
    "resources.gpu": model_resources.Gpu,
    "resources.disk": model_resources.Disk,
}
_SECTIONS: dict[str, type[BaseModel]] = {
    "": model.TaskFields,
    "retry": model_failures.Retry,
    "on_disconnect": model_failures.OnDisconnect,
    "registry_auth": model_container.RegistryAuth,
    "utilization_policy": model_choice.UtilizationPolicy,
    "preflight": model_preflight.Preflight,
    "after": model_many.After,
    "variants": model_choice.Variant,
    "groups": model_choice.Group,
    **{f"{part}{name}": fields for part in ("", "variants.", "groups.") for name, fields in _RESOURCES.items()},
}
"""The fields of each mapping in a task file, by the names that lead to it."""

_LIKE_A_TASK = ("", "groups")


def unknown_field(path: ValuePath) -> str:
    """What is wrong, why, and what to do."""
    field, section = str(path[-1]), ".".join(part for part in path[:-1] if isinstance(part, str))
    if section in _LIKE_A_TASK and (instead := DSTACK_FIELDS.get(field)) is not None:
        return f"field {field!r} is not supported yet; {instead}; remove the field"
    known = tuple(_SECTIONS[section].model_fields) if section in _SECTIONS else ()
    guess = nearest(field, known)
    meant = f"did you mean {guess!r}?" if guess else f"known are {', '.join(known)}"
    return f"unknown field {field!r}; {section or 'a task'} has no such field; {meant}"
