"""What is kept of GPUs' health, and of what happened to hosts. All frozen; times as in ``model``."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from coordinator.core.evidence import Condition
from coordinator.core.ids import HostId

# So many notes of what happened are kept, of all hosts together; the oldest go first.
KEPT_EVENTS = 2000


class Health(Enum):
    """How a GPU, or a host's bus and driver, stands. UNKNOWN is never stored: nobody looks, or nobody has yet."""

    UNKNOWN = "unknown"
    HEALTHY = "healthy"
    SUSPECT = "suspect"
    DRAINING = "draining"
    QUARANTINED = "quarantined"
    TESTING = "testing"

    @property
    def fenced(self) -> bool:
        """Whether it gets no new work."""
        return self in (Health.DRAINING, Health.QUARANTINED, Health.TESTING)


@dataclass(frozen=True, slots=True)
class Strike:
    """A fault that looks like the program's, or that counts only when it comes again: whose it was.

    ``what`` names the sign and its code; ``job`` is the job's id, or the allocation's; empty: nobody knows.
    """

    what: str
    job: str
    user: str
    seen_since: float


@dataclass(frozen=True, slots=True)
class GpuHealth:
    """What is held against one GPU of a host (empty: against its bus and driver), and what becomes of it.

    ``reason`` is why it is not healthy, ``evidence`` what was seen last; ``since`` is when it came into its state,
    ``seen_since`` when anything was last seen. ``conditions`` are those that hold and are known already: of a host
    their detail is the GPU that they were seen on. ``failures`` counts fences and failed tests in a row, ``test_since``
    is when it is to be tested (0: never by itself), ``test`` the number of the test that is under way, ``awaited``
    those GPUs whose outcome is not in yet, ``resumes`` the state before. ``held_back``: the breaker kept it from being
    fenced, so hard (see ``verdicts.Grip``). ``manual``: a user quarantined it, and a user alone releases it. A fault
    ``fault_since`` is to blame for what failed on it just then, ``fault_reason`` in words.
    """

    gpu: str
    state: Health = Health.HEALTHY
    reason: str = ""
    evidence: str = ""
    changed_at: float = 0.0
    since: float = 0.0
    seen_since: float = 0.0
    strikes: tuple[Strike, ...] = ()
    conditions: tuple[Condition, ...] = ()
    failures: int = 0
    test_since: float = 0.0
    test: int = 0
    awaited: tuple[str, ...] = ()
    resumes: Health = Health.HEALTHY
    held_back: int = 0
    manual: bool = False
    fault_since: float = 0.0
    fault_reason: str = ""


@dataclass(frozen=True, slots=True)
class HostHealth:
    """What is known of the health of one host's GPUs, by uuid; the first, if its name is empty, is the host's own.

    ``sequence`` is the last evidence that was taken in, ``tests`` the last test's number, ``fenced_since`` when any of
    it was last fenced by itself (0: never), which is what the breaker counts.
    """

    host_id: HostId
    sequence: int = 0
    tests: int = 0
    fenced_since: float = 0.0
    gpus: tuple[GpuHealth, ...] = ()

    def of(self, gpu: str) -> GpuHealth:
        """What is held against this GPU; a clean record when that is nothing."""
        return next((record for record in self.gpus if record.gpu == gpu), GpuHealth(gpu))


@dataclass(frozen=True, slots=True)
class HostEvent:
    """Something that happened to a host, for its owner to look up. ``number`` counts them all.

    ``kind`` is one word (``health``, ``breaker``, ``joined``, …), ``gpu`` the GPU that it is about, ``evidence`` what
    was seen. ``host`` is the host's name then.
    """

    number: int
    at: float
    host_id: HostId
    host: str
    kind: str
    text: str
    gpu: str = ""
    evidence: str = ""
