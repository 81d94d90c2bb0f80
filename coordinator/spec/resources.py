"""dstack's resource syntax: ranges, sizes, and the one-line forms of ``cpu`` and ``gpu``.

Values come as text (or as mappings of text), just as they stand in the file; every function raises ``Wrong``.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from coordinator.core.spec import Range
from coordinator.spec.problems import Wrong, nearest
from coordinator.spec.rules import ARCHES, VENDORS, check_share

GIB = 1024**3
_UNITS = {"MB": 1024**2, "GB": GIB, "TB": 1024**4}
_SIZE = re.compile(r"(?P<number>[0-9]+(?:\.[0-9]+)?)(?P<unit>[A-Za-z]*)")
_COUNT = re.compile(r"[0-9]{1,9}")
_GPU_NAME = re.compile(r"[A-Za-z][A-Za-z0-9 ._-]*")
_MAX_BYTES = 2**62


def parse_size(text: str) -> int:
    """Bytes of ``16GB``, ``512MB``, ``1.5TB``; a plain number is GB. As in dstack, a GB is 2**30 bytes."""
    match = _SIZE.fullmatch(text.replace(" ", ""))
    unit = (match["unit"].upper() or "GB") if match else ""
    if match is None or unit not in _UNITS:
        raise Wrong(f"{text!r} is not a size; sizes are in MB, GB or TB; write for example 16GB")
    size = round(float(match["number"]) * _UNITS[unit])
    if size > _MAX_BYTES:
        raise Wrong(f"{text!r} is larger than any machine; write for example 16GB")
    return size


def parse_count(text: str) -> int:
    """A whole number."""
    # Stripped once: to strip() more is blank than to int().
    digits = text.strip()
    if not _COUNT.fullmatch(digits):
        raise Wrong(f"{text!r} is not a whole number; write for example 4")
    return int(digits)


def at_least_size(value: object) -> Range:
    """``16GB..``, ``512MB..8GB``, ``..8GB``; a single size is what a node holds, on a host of any larger size."""
    return _at_least(parse_range(value, parse_size), value)


def exact_size(value: object) -> Range:
    """The same, but a single size means exactly that: a GPU's memory; what a node holds and may use at most."""
    return parse_range(value, parse_size)


def exact_count(value: object) -> Range:
    """``2``, ``1..4``, ``2..``; a single number means exactly that many."""
    return parse_range(value, parse_count)


def cpu_count(value: object) -> Range:
    """``4..``, ``..8``, ``4``: a single number is what a node holds, on a larger host too; never less than 1."""
    found = _at_least(parse_range(value, parse_count), value)
    if found.min == 0:
        raise Wrong("a node can't run on 0 CPUs; the least is 1; write for example 1..")
    return Range(found.min or 1, found.max)


def _at_least(found: Range, value: object) -> Range:
    # dstack's single number picks an instance of that size. Hosts here are shared by nodes, so it is what a node holds.
    return Range(found.min, None) if isinstance(value, str) and ".." not in value else found


def parse_range(value: object, parse: Callable[[str], int]) -> Range:
    """``LOW..HIGH`` with either end open, one value, or ``{min: , max: }``."""
    low, high = _ends(value)
    if low is None and high is None:
        raise Wrong("the range is empty; at least one end is needed; write for example 4.. or ..8")
    found = Range(None if low is None else parse(low), None if high is None else parse(high))
    if found.min is not None and found.max is not None and found.min > found.max:
        raise Wrong(f"range {low}..{high} is the wrong way round; the lower end comes first; write {high}..{low}")
    return found


def _ends(value: object) -> tuple[str | None, str | None]:
    if isinstance(value, dict) and value and value.keys() <= {"min", "max"}:
        low, high = value.get("min"), value.get("max")
        if all(end is None or isinstance(end, str) for end in (low, high)):
            return low, high
    if not isinstance(value, str):
        raise Wrong(f"{_kind(value)} is not a range; write for example 4, 4.., ..8 or 4..8")
    if ".." not in value:
        return value, value
    low, _, high = value.replace(" ", "").partition("..")
    if ".." in high:
        raise Wrong(f"{value!r} has more than two ends; a range has two; write for example 4..8")
    return low or None, high or None


def _kind(value: object) -> str:
    return {dict: "a mapping", list: "a list", type(None): "an empty value"}.get(type(value), repr(value))


def split_cpu(text: str) -> dict[str, object]:
    """The parts of ``arm:4..``: ``{"arch": "arm", "count": "4.."}``."""
    parts: dict[str, object] = {}
    for token in text.replace(" ", "").split(":"):
        if token[:1].isdigit() or token.startswith(".."):
            _put(parts, "count", token, text)
        else:
            _put(parts, "arch", token, text)
    return parts


def parse_arch(value: object) -> str:
    """``x86`` or ``arm`` from any usual spelling."""
    arch = ARCHES.get(value.lower()) if isinstance(value, str) else None
    if arch is None:
        raise Wrong(f"{value!r} is not a CPU architecture; x86 and arm are known; write for example arm:4..")
    return arch


def split_gpu(text: str) -> dict[str, object]:
    """The parts of ``nvidia:H100,A100:40GB..:2`` or ``A100:1/2``, in any order, told apart by how they look."""
    parts: dict[str, object] = {}
    for token in text.replace(" ", "").split(":"):
        if not token:
            raise Wrong(f"gpu {text!r} has an empty part; parts are divided by ':'; write for example H100:80GB..:2")
        if token.lower() in VENDORS:
            _put(parts, "vendor", token, text)
        elif "/" in token:
            _put(parts, "share", token, text)
        elif token[0].isalpha():
            _put(parts, "name", token.split(","), text)
        elif any(letter.isalpha() for letter in token):
            _put(parts, "memory", token, text)
        else:
            _put(parts, "count", token, text)
    return parts


def _put(parts: dict[str, object], part: str, value: object, text: str) -> None:
    if part in parts:
        hint = "; several names are divided by ','" if part == "name" else ""
        raise Wrong(f"{text!r} gives the {part} twice{hint}; write it once, for example H100,A100:40GB..:2")
    parts[part] = value


def parse_vendor(value: object) -> str:
    """A GPU vendor in lower case."""
    if isinstance(value, str) and (vendor := VENDORS.get(value.lower())) is not None:
        return vendor
    guess = nearest(str(value), VENDORS)
    meant = f"did you mean {guess}?" if guess else "leave it out for any vendor"
    raise Wrong(f"{value!r} is not a GPU vendor; known are {', '.join(sorted(set(VENDORS.values())))}; {meant}")


def parse_gpu_names(value: object) -> tuple[str, ...]:
    """GPU models: a list, one name, or names divided by commas."""
    names = value.split(",") if isinstance(value, str) else value
    if not isinstance(names, list) or not names:
        raise Wrong(f"{_kind(value)} is not a GPU's name; write for example H100, or a list of names")
    for name in names:
        if not isinstance(name, str) or not _GPU_NAME.fullmatch(name.strip()):
            raise Wrong(f"{name!r} is not a GPU's name; a name begins with a letter; write for example H100,A100")
    return tuple(name.strip() for name in names)


def parse_share(value: object) -> tuple[int, int]:
    """``1/2``: half of one GPU."""
    match = re.fullmatch(r"([0-9]{1,3})/([0-9]{1,3})", value.replace(" ", "")) if isinstance(value, str) else None
    if match is None:
        raise Wrong(f"{value!r} is not a share of a GPU; a share is a fraction; write for example 1/2")
    check_share(int(match[1]), int(match[2]))
    return int(match[1]), int(match[2])


def parse_compute_capability(value: object) -> tuple[int, int]:
    """``8.9``, or a list of its two numbers."""
    parts = value if isinstance(value, list) else str(value).strip().split(".")
    if isinstance(parts, list) and len(parts) == 2 and all(re.fullmatch("[0-9]{1,2}", str(part)) for part in parts):
        return int(str(parts[0])), int(str(parts[1]))
    raise Wrong(f"{value!r} is not a compute capability; it has two numbers; write for example 8.0")
