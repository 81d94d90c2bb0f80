"""Whether what a job's commands and variables refer to will be there when they run."""

from __future__ import annotations

from collections.abc import Iterator

from coordinator.core.interpolation import MatrixValue, NodeAddress, Reference, Unknown, references
from coordinator.core.spec import JobSpec, NodeGroup, Placement, Variant
from coordinator.spec.problems import ValuePath, nearest


def reference_problems(spec: JobSpec) -> list[tuple[ValuePath, str]]:
    """What can't be filled in: where it stands in the specification, and what to do about it."""
    return [
        (path, wrong)
        for path, text in _texts(spec)
        for reference in dict.fromkeys(references(text))
        if (wrong := _problem(reference, spec)) is not None
    ]


def unknown_reference(reference: Unknown) -> str:
    """What is wrong with a reference that means nothing, and what can be written."""
    return (
        f"'${{{{ {reference.text} }}}}', which is not supported yet; known are matrix.NAME and"
        " groups[I].nodes[J].IP_ADDRESS; a node has other values in its environment, for example $DSTACK_NODE_RANK"
        " (for the characters themselves write $${{)"
    )


def _texts(spec: JobSpec) -> Iterator[tuple[ValuePath, str]]:
    yield from (((part, at), text) for part in ("commands", "argv") for at, text in enumerate(getattr(spec, part)))
    yield from ((("env", name), text) for name, text in spec.env.items())
    for index, variant in enumerate(spec.variants):
        yield from _texts_of_part(("variants", index), variant)
        yield from ((("variants", index, "argv", at), text) for at, text in enumerate(variant.argv))
    for index, group in enumerate(spec.groups):
        yield from _texts_of_part(("groups", index), group)


def _texts_of_part(path: ValuePath, part: Variant | NodeGroup) -> Iterator[tuple[ValuePath, str]]:
    yield from (((*path, "commands", at), text) for at, text in enumerate(part.commands))
    yield from (((*path, "env", name), text) for name, text in part.env.items())


def _problem(reference: Reference, spec: JobSpec) -> str | None:
    if isinstance(reference, MatrixValue):
        return _matrix_problem(reference, spec)
    if isinstance(reference, NodeAddress):
        return _address_problem(reference, spec)
    assert isinstance(reference, Unknown)
    return unknown_reference(reference)


def _matrix_problem(value: MatrixValue, spec: JobSpec) -> str | None:
    used = f"${{{{ matrix.{value.name} }}}}"
    if spec.matrix is None:
        return f"{used} is used, but nodes have no parameters; add 'matrix', 'array' or 'each_line', or remove it"
    known = [axis.name for axis in spec.matrix.axes]
    known += [name for entry in spec.matrix.included for name in entry if name not in known]
    if value.name in known:
        return None
    guess = nearest(value.name, known)
    meant = f"did you mean {guess!r}?" if guess else f"nodes have {', '.join(dict.fromkeys(known))}"
    return f"{used} is used, but the matrix has no such parameter; {meant}"


def _address_problem(address: NodeAddress, spec: JobSpec) -> str | None:
    used = f"${{{{ groups[{address.group}].nodes[{address.node}].IP_ADDRESS }}}}"
    if spec.placement is Placement.ANY:
        return f"{used} is used, but 'any' nodes know nothing of each other; write 'placement: cluster', or remove it"
    # A job without groups is one.
    sizes = [group.nodes for group in spec.groups] or [spec.nodes]
    if address.group >= len(sizes):
        return f"{used} is used, but groups end at {len(sizes) - 1}; they are counted from 0; choose another"
    if address.node >= (size := sizes[address.group]):
        return f"{used} is used, but that group's nodes end at {size - 1}; they are counted from 0; choose another"
    return None
