"""The values of many nodes, and when a job starts, as the API carries it, both ways."""

from __future__ import annotations

from rallypoint.v1 import types_pb2 as pb

from coordinator.core.matrix import Axis, Matrix, MatrixSource
from coordinator.core.spec import AfterWhen, Dependency, OnSlow, PreflightKind, PreflightPolicy, UtilizationPolicy
from coordinator.spec import rules
from coordinator.spec.problems import Wrong
from coordinator.wire.checks import known, seconds

_SOURCES = {each: pb.MatrixSource.Value(f"MATRIX_SOURCE_{each.name}") for each in MatrixSource}
_KINDS = {each: pb.PreflightKind.Value(f"PREFLIGHT_KIND_{each.name}") for each in PreflightKind}
_ON_SLOW = {each: pb.OnSlow.Value(f"ON_SLOW_{each.name}") for each in OnSlow}
_WHEN = {each: pb.AfterWhen.Value(f"AFTER_WHEN_{each.name}") for each in AfterWhen}


def matrix_to_pb(matrix: Matrix) -> pb.Matrix:
    """The message for a matrix."""
    return pb.Matrix(
        axes=[pb.Axis(name=a.name, values=a.values, first=a.first, last=a.last, step=a.step) for a in matrix.axes],
        excluded=[pb.Span(start=start, stop=stop) for start, stop in matrix.excluded],
        included=[pb.Parameters(values=dict(values)) for values in matrix.included],
        source=_SOURCES[matrix.source],
    )


def matrix_from_pb(message: pb.Matrix) -> Matrix:
    """The matrix in a message. Raises ``Wrong``."""
    axes = tuple(_axis(axis) for axis in message.axes)
    rules.check_different("parameter", [axis.name for axis in axes])
    matrix = Matrix(
        axes=axes,
        excluded=tuple((span.start, span.stop) for span in message.excluded),
        included=tuple({**_parameters(each)} for each in message.included),
        source=known("matrix source", message.source, _SOURCES, MatrixSource.MATRIX),
    )
    _check_excluded(matrix)
    return matrix


def _axis(message: pb.Axis) -> Axis:
    name = rules.check_parameter(message.name)
    if not message.values and message.step < 1:
        raise Wrong(f"matrix.{name} goes up by {message.step}; a step is 1 or more; choose another")
    values = tuple(rules.check_text(f"matrix.{name}", value) for value in message.values)
    axis = Axis(name, values, *(() if values else (message.first, message.last, message.step)))
    if not len(axis):
        raise Wrong(f"matrix.{name} has no values; its range ends before it begins; give it some")
    return axis


def _parameters(message: pb.Parameters) -> dict[str, str]:
    return {
        rules.check_parameter(name): rules.check_text(f"matrix.{name}", value)
        for name, value in sorted(message.values.items())
    }


def _check_excluded(matrix: Matrix) -> None:
    end = 0
    for start, stop in matrix.excluded:
        if not end <= start < stop <= matrix.combinations():
            raise Wrong(f"excluded combinations {start}..{stop} are out of order or beyond the last; sort them")
        end = stop


def dependency_to_pb(dependency: Dependency) -> pb.Dependency:
    """The message for what a job waits for."""
    return pb.Dependency(job=dependency.job, when=_WHEN[dependency.when])


def dependency_from_pb(message: pb.Dependency) -> Dependency:
    """What a job waits for. Raises ``Wrong``."""
    if not message.job:
        raise Wrong("after names no job; write the id or name of one")
    return Dependency(rules.check_text("after", message.job), known("after", message.when, _WHEN, AfterWhen.OK))


def utilization_from_pb(message: pb.UtilizationPolicy) -> UtilizationPolicy:
    """The policy in a message. Raises ``Wrong``."""
    return rules.check_utilization(UtilizationPolicy(message.min_gpu_percent, message.window_seconds))


def preflight_to_pb(policy: PreflightPolicy) -> pb.PreflightPolicy:
    """The message for what is measured before a group starts."""
    return pb.PreflightPolicy(
        kind=_KINDS[policy.kind],
        min_bandwidth=policy.min_bandwidth,
        max_latency_seconds=policy.max_latency,
        seconds=policy.seconds,
        on_slow=_ON_SLOW[policy.on_slow],
    )


def preflight_from_pb(message: pb.PreflightPolicy) -> PreflightPolicy:
    """What is measured before a group starts. Raises ``Wrong``."""
    default = PreflightPolicy()
    lasts = seconds(message, "seconds", positive=True)
    policy = PreflightPolicy(
        kind=known("preflight", message.kind, _KINDS, default.kind),
        min_bandwidth=message.min_bandwidth if message.HasField("min_bandwidth") else None,
        max_latency=seconds(message, "max_latency_seconds", positive=True),
        seconds=default.seconds if lasts is None else lasts,
        on_slow=known("on_slow", message.on_slow, _ON_SLOW, default.on_slow),
    )
    return rules.check_preflight(policy)
