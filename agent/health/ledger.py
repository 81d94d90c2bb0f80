"""What must outlive the agent: evidence that the coordinator does not have yet, and what new signs are told from."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

import structlog
from rallypoint.files import write_private

from agent.health.model import Evidence, Sign
from agent.health.rules import Known

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

log = structlog.get_logger()

# Beyond it the oldest are given up: a card that fails so often has been judged by then.
MOST = 500
_FILE = "health.json"
_VERSION = 1


@dataclass(frozen=True, slots=True)
class Memory:
    """Of a GPU's memory, in bytes: what is used when nobody has it, and what a node left behind (0: nothing)."""

    idle: int | None = None
    left: int = 0


@dataclass(slots=True)
class Book:
    """What is known of the GPUs of one boot, by uuid; ``gpus`` are the cards that it has had.

    ``told`` are the signs that hold and were told as evidence when they began: uuid (empty: the host) and name.
    """

    boot_id: str = ""
    gpus: tuple[str, ...] = ()
    known: dict[str, Known] = field(default_factory=dict)
    memory: dict[str, Memory] = field(default_factory=dict)
    told: set[tuple[str, str]] = field(default_factory=set)


class Ledger:
    """Evidence in the order in which it was seen, and the book, in one file of the state directory.

    What is added gets its number as soon as the coordinator has said which was the last that it has; numbers are
    counted up from there, so that a host whose state was lost gives none twice. ``changed`` says that :meth:`save` is
    due. Not for use from several threads, but for :meth:`save`.
    """

    def __init__(self, folder: Path, now: float, wall: float) -> None:
        """Read what an earlier agent left; ``now`` and ``wall`` are the steady clock and Unix time of this moment."""
        self._path = folder / _FILE
        self.book = Book()
        self.changed = False
        # Who holds which GPU, by uuid: for other programs of this host that want to know, such as `agent check`.
        self.held: Mapping[str, str] = {}
        # As an earlier agent last wrote it down.
        self.held_before: dict[str, str] = {}
        self._pending: list[Evidence] = []
        self._last = 0
        self._numbering = False
        self._shift = wall - now
        self._read(now, wall)

    # --- evidence -------------------------------------------------------------------------------------------------

    def add(self, evidence: Evidence) -> None:
        """Keep a sign until the coordinator has it."""
        self._pending.append(self._numbered(evidence) if self._numbering else evidence)
        if len(self._pending) > MOST:
            log.warning("health.evidence_dropped", reason=f"{MOST} signs wait for the coordinator; the oldest goes")
            del self._pending[0]
        self.changed = True

    def number_from(self, last: int) -> None:
        """A session is open, and the coordinator has all evidence up to number ``last``."""
        self._last, self._numbering = max(self._last, last), True
        self._pending = [evidence if evidence.sequence else self._numbered(evidence) for evidence in self._pending]
        self.changed = self.changed or bool(self._pending)

    def unreported(self, limit: int) -> list[Evidence]:
        """The oldest that the coordinator does not have; none before it has said which number comes next."""
        return self._pending[:limit] if self._numbering else []

    def acknowledge(self, last: int) -> None:
        """The coordinator has all up to number ``last``."""
        left = [evidence for evidence in self._pending if not evidence.sequence or evidence.sequence > last]
        self.changed = self.changed or len(left) < len(self._pending)
        self._pending = left

    def _numbered(self, evidence: Evidence) -> Evidence:
        self._last += 1
        return replace(evidence, sequence=self._last)

    # --- the file -------------------------------------------------------------------------------------------------

    def content(self) -> bytes:
        """What the file shall hold; takes ``changed`` back."""
        self.changed = False
        told = {
            "version": _VERSION,
            "last": self._last,
            # Steady clocks begin anew with each boot, so the file has Unix time.
            "pending": [{**asdict(e), "sign": e.sign.name, "at": e.at + self._shift} for e in self._pending],
            "boot_id": self.book.boot_id,
            "gpus": self.book.gpus,
            "known": {uuid: _kept(known) for uuid, known in self.book.known.items()},
            "memory": {uuid: asdict(memory) for uuid, memory in self.book.memory.items()},
            "told": sorted(self.book.told),
            "held": dict(self.held),
        }
        return json.dumps(told).encode()

    def save(self, content: bytes) -> None:
        """Write the file; safe in any thread. A disk that takes nothing is said once a try, and costs nothing else."""
        try:
            write_private(self._path, content)
        except OSError as error:
            log.warning("health.not_kept", file=str(self._path), reason=error.strerror or str(error))

    def _read(self, now: float, wall: float) -> None:
        try:
            said = json.loads(self._path.read_bytes())
            self._take(said, now, wall)
        except FileNotFoundError:
            return
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            log.warning("health.unreadable", file=str(self._path), reason=str(error), hint="it is begun anew")
            self.book, self._pending, self._last = Book(), [], 0

    def _take(self, said: Mapping[str, Any], now: float, wall: float) -> None:
        self._last = int(said["last"])
        self.held_before = {str(uuid): str(allocation) for uuid, allocation in said.get("held", {}).items()}
        self._pending = [
            Evidence(**{**e, "sign": Sign[e["sign"]], "at": now - max(0.0, wall - float(e["at"]))})
            for e in said["pending"][-MOST:]
        ]
        self.book = Book(
            boot_id=str(said["boot_id"]),
            gpus=_strings(said["gpus"]),
            known={uuid: _known(known) for uuid, known in said["known"].items()},
            memory={uuid: Memory(**memory) for uuid, memory in said["memory"].items()},
            told={(uuid, sign) for uuid, sign in said["told"]},
        )


def read_held(folder: Path) -> dict[str, str]:
    """Which allocation holds which GPU, as the agent of this state directory last wrote down."""
    try:
        held = json.loads((folder / _FILE).read_bytes())["held"]
        return {str(uuid): str(allocation) for uuid, allocation in held.items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        # No agent has been here, or it knew of no GPUs: nothing is known to be held.
        return {}


_NOT_KEPT = ("links_told", "narrow")


def _kept(known: Known) -> dict[str, Any]:
    return {name: value for name, value in asdict(known).items() if name not in _NOT_KEPT}


def _known(said: Mapping[str, Any]) -> Known:
    names = {f.name for f in fields(Known)} - set(_NOT_KEPT)
    told: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in said.items() if name in names}
    return Known(**told)


def _strings(values: Iterable[object]) -> tuple[str, ...]:
    return tuple(str(value) for value in values)
