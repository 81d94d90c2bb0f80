"""How often, and after what, a task file's job runs: ``array``, ``after``, ``schedule``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated

from pydantic import PlainValidator

from coordinator.core.matrix import Axis
from coordinator.core.spec import MAX_NODES, AfterWhen, Dependency
from coordinator.spec.fields import Fields, choice, count, text_of
from coordinator.spec.problems import Wrong
from coordinator.spec.rules import ID_LIKE, check_name, check_schedule

ARRAY_PARAMETER = "index"
"""What an array's number is called in ``${{ matrix.index }}``."""

_ARRAY_PART = re.compile(r"(?P<first>[0-9]{1,15})(?:-(?P<last>[0-9]{1,15})(?::(?P<step>[0-9]{1,15}))?)?")
_MAX_AFTER = 100

parse_max_running = count("max_running", 1, MAX_NODES)


@dataclass(frozen=True, slots=True)
class Array:
    """The numbers of an array's nodes, and how many run at once."""

    axis: Axis
    max_running: int | None


def parse_array(value: object) -> Array:
    """``0-99``, ``0-99:2``, ``1,5,9-12``, each perhaps with ``%8``: at most 8 at once. Raises ``Wrong``."""
    text = text_of(value).replace(" ", "")
    numbers, percent, most = text.partition("%")
    ranges = [_numbers(part, text) for part in numbers.split(",")]
    return Array(_axis(ranges), parse_max_running(most) if percent else None)


def _numbers(part: str, text: str) -> range:
    match = _ARRAY_PART.fullmatch(part)
    if match is None:
        raise Wrong(f"array {text!r} is not known; write for example 0-99, 0-99:2, 1,5,9-12, or 0-99%8 for 8 at once")
    first, last, step = int(match["first"]), int(match["last"] or match["first"]), int(match["step"] or 1)
    if last < first:
        raise Wrong(f"array {part!r} is the wrong way round; the first number comes first; write {last}-{first}")
    if not step:
        raise Wrong(f"array {part!r} goes up by 0; a step is 1 or more; choose another")
    found = range(first, last + 1, step)
    if len(found) > MAX_NODES:
        raise Wrong(f"array {part!r} has {len(found)} numbers; a job has at most {MAX_NODES} nodes; divide the job")
    return found


def _axis(ranges: list[range]) -> Axis:
    if len(ranges) == 1:
        (only,) = ranges
        return Axis(ARRAY_PARAMETER, (), only.start, only[-1], only.step)
    if sum(map(len, ranges)) > MAX_NODES:
        raise Wrong(f"array has more than {MAX_NODES} numbers, the most nodes of a job; submit several jobs")
    values = [str(number) for numbers in ranges for number in numbers]
    if len(set(values)) < len(values):
        raise Wrong("array names a number twice; each node has its own; leave one out")
    return Axis(ARRAY_PARAMETER, tuple(values))


class After(Fields):
    """An item of ``after`` as a mapping."""

    job: Annotated[str, PlainValidator(lambda value: _job(text_of(value)))]
    when: Annotated[AfterWhen, PlainValidator(choice("when", AfterWhen))] = AfterWhen.OK

    def dependency(self) -> Dependency:
        """What the core waits for."""
        return Dependency(self.job, self.when)


def parse_after(value: object) -> object:
    """``prep``, ``prep:failed``, a mapping, or a list of them: as mappings. Raises ``Wrong``."""
    items = value if isinstance(value, list) else [value]
    if len(items) > _MAX_AFTER:
        raise Wrong(f"after names {len(items)} jobs; at most {_MAX_AFTER} can be waited for; put one job in between")
    return [_split(item) if isinstance(item, str) else item for item in items]


def _split(text: str) -> dict[str, str]:
    job, colon, when = text.partition(":")
    return {"job": job.strip(), "when": when.strip()} if colon else {"job": job.strip()}


def _job(text: str) -> str:
    return text if ID_LIKE.fullmatch(text) else check_name(text)


def parse_schedule(value: object) -> str:
    """``0 2 * * *``, or dstack's ``{cron: 0 2 * * *}``, or a list instead of one. Raises ``Wrong``."""
    if isinstance(value, dict) and value.keys() != {"cron"}:
        raise Wrong("schedule is a cron expression; write schedule: '0 2 * * *', or 'cron: 0 2 * * *' under it")
    crons = value["cron"] if isinstance(value, dict) else value
    each = [" ".join(text_of(cron).split()) for cron in (crons if isinstance(crons, list) else [crons])]
    if not each:
        raise Wrong("schedule has no cron expression; write for example '0 2 * * *', or leave it out")
    return check_schedule("; ".join(each))
