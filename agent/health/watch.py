"""Watches the health of this host's GPUs, busy or idle: readings and events in, evidence and conditions out."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from agent.hardware.answer import placeholder
from agent.hardware.inventory import card
from agent.health import rules
from agent.health.holders import Holders
from agent.health.ledger import Memory
from agent.health.model import Evidence, Sign
from agent.health.rules import Known, Seen
from agent.spawner.wire import now as boot_clock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from agent.core.model import AllocationId, Desired, Observed
    from agent.hardware.model import Gpu, GpuEvent, GpuProcess, HardwareReport, Problem
    from agent.health.ledger import Ledger

log = structlog.get_logger()

XID = 8
# Signs that are told as evidence when they begin, besides being told while they hold: what is gone cannot tell more.
_TOLD_AT_ONCE = frozenset({Sign.OFF_THE_BUS, Sign.DRIVER, Sign.GPU_COUNT})
# A kernel that faults in every thread lets the driver say the same XID thousands of times.
_REPEAT_SECONDS = 10.0
# One answer that did not come may be a busy machine's fault, one worker that ended somebody's kill. The probe asks
# again after half a minute; what then still is so, is the driver's.
_MAY_PASS = frozenset({"nvml-hung", "nvml-crashed"})
_PASSED_SECONDS = 60.0
# A node's processes are gone when it has ended; the driver gives their memory back a moment later.
_MEMORY_GRACE = 20.0
# What the driver itself may take or give back meanwhile; more where it was never read while nobody had the GPU.
_MEMORY_SLACK, _MEMORY_UNSURE = 256 << 20, 1 << 30


class HealthWatch:
    """``on_news`` is called whenever there is evidence to report, ``on_change`` when the ledger is to be saved."""

    def __init__(
        self,
        ledger: Ledger,
        on_news: Callable[[], None],
        on_change: Callable[[], None],
        now: Callable[[], float] = boot_clock,
    ) -> None:
        self.holders = Holders(ledger.held_before)
        self._ledger = ledger
        self._on_news = on_news
        self._on_change = on_change
        self._now = now
        self._gpus: tuple[Gpu, ...] = ()
        self._since: dict[tuple[str, Sign, int], float] = {}
        self._xids: dict[tuple[str, int, str], float] = {}
        # Since when a problem that may pass is there, by GPU (or host) and code.
        self._problems: dict[tuple[str, str], float] = {}
        # GPUs whose memory was found free since a node last had them: whoever uses it now came from elsewhere.
        self._clean: set[str] = set()
        # GPUs that are being tested: what their memory holds is the test's.
        self._tested: set[str] = set()

    # --- what comes in ----------------------------------------------------------------------------------------------

    def see_work(self, desired: Mapping[AllocationId, Desired], observed: Mapping[AllocationId, Observed]) -> bool:
        """Take in who holds which GPU; whether that has changed."""
        changed = self.holders.see(desired, observed, self._now())
        if changed:
            self._ledger.held, self._ledger.changed = self.holders.held, True
            self._settle()
        return changed

    def look(self, report: HardwareReport) -> HardwareReport:
        """``report`` with the conditions that hold now; what has happened since the last one becomes evidence."""
        now = self._now()
        self._gpus = report.gpus or self._gpus
        self._begin_boot(report)
        self._count_errors(report.gpus, now)
        found = [("", report.gpu_problem), *((gpu.uuid, gpu.problem) for gpu in report.gpus)]
        there = [(uuid, problem.code) for uuid, problem in found if problem is not None]
        self._problems = {key: self._problems.get(key, now) for key in there}
        held = {gpu.uuid: tuple(self._holding(gpu)) for gpu in report.gpus}
        of_host = tuple(self._of_host(report))
        self._begin_and_end({**held, "": of_host}, now)
        gpus = (
            replace(gpu, conditions=self._conditions(gpu.uuid, held[gpu.uuid]), health_watched=rules.watched(gpu))
            for gpu in report.gpus
        )
        self._settle()
        return replace(report, gpus=tuple(gpus), conditions=self._conditions("", of_host))

    def hear(self, event: GpuEvent) -> None:
        """An event of NVML's. XIDs become evidence at once; others only say that it is time for a reading."""
        there = [gpu for gpu in self._gpus if gpu.index == event.index]
        if event.type != XID or not there:
            return
        now, uuid = self._now(), card(there[0])
        concerned = [gpu for gpu in there if event.gpu_instance in (None, gpu.gpu_instance)] or there
        holders = dict.fromkeys(self.holders.of(gpu.uuid, now) for gpu in concerned)
        allocation = next((holder for holder in holders if holder), "")
        last = self._xids.get((uuid, event.data, allocation))
        if last is not None and now - last < _REPEAT_SECONDS:
            return
        self._xids = {key: at for key, at in self._xids.items() if now - at < _REPEAT_SECONDS}
        self._xids[uuid, event.data, allocation] = now
        instance = f"of its MIG instance {concerned[0].uuid}" if event.gpu_instance is not None else ""
        self._tell(Evidence(uuid, Sign.XID, event.data, instance, now, allocation))
        self._settle()

    def tested(self, uuid: str, number: int, failure: str) -> None:
        """The coordinator's test of that number is over; ``failure`` says what is wrong, if anything is."""
        sign = Sign.TEST_FAILED if failure else Sign.TEST_PASSED
        self._tell(Evidence(uuid, sign, number, failure, self._now()))
        self._settle()

    @contextmanager
    def under_test(self, uuids: Iterable[str]) -> Iterator[None]:
        """These GPUs are being given work by the agent itself, meanwhile."""
        mine = set(uuids) - self._tested
        self._tested |= mine
        try:
            yield
        finally:
            self._tested -= mine

    def is_held(self, uuid: str) -> bool:
        """Whether a node has this GPU, or a part of it."""
        parts = {gpu.uuid for gpu in self._gpus if uuid in (gpu.uuid, gpu.parent)} | {uuid}
        return not parts.isdisjoint(self.holders.held)

    # --- what goes out ----------------------------------------------------------------------------------------------

    def opened(self, last: int) -> None:
        """A session is open, and the coordinator has all evidence up to number ``last``."""
        self._ledger.number_from(last)
        self._settle()

    def unreported(self, limit: int) -> list[Evidence]:
        """The oldest evidence that the coordinator does not have."""
        return self._ledger.unreported(limit)

    def acknowledge(self, last: int) -> None:
        """The coordinator has all evidence up to number ``last``."""
        self._ledger.acknowledge(last)
        self._settle()

    def _tell(self, evidence: Evidence) -> None:
        tell = log.info if evidence.sign is Sign.TEST_PASSED else log.warning
        tell(
            "gpu.sign",
            gpu=evidence.gpu_uuid,
            sign=evidence.sign.name,
            code=evidence.code,
            detail=evidence.detail,
            allocation=evidence.allocation,
        )
        self._ledger.add(evidence)
        self._on_news()

    def _settle(self) -> None:
        if self._ledger.changed:
            self._on_change()

    # --- a reading --------------------------------------------------------------------------------------------------

    def _begin_boot(self, report: HardwareReport) -> None:
        """Which cards there are, when all are known; after a boot those that have not come back are told of."""
        book, cards = self._ledger.book, _cards(report.gpus)
        if report.gpu_problem is not None or not cards:
            return
        there = tuple(uuid for uuid, gpu in cards.items() if not _gone(gpu))
        if book.boot_id != (report.boot_id or ""):
            missing = [uuid for uuid in book.gpus if uuid not in there]
            if missing:
                detail = f"not there any more since the last boot: {', '.join(missing)}"
                self._tell(Evidence("", Sign.GPU_COUNT, len(there), detail, self._now()))
            book.boot_id, book.gpus, book.told = report.boot_id or "", there, set()
            # Counters of this kind begin anew with the driver.
            book.known = {u: Known(ecc_aggregate=k.ecc_aggregate) for u, k in book.known.items() if u in there}
            book.memory = {uuid: memory for uuid, memory in book.memory.items() if not memory.left}
            self._ledger.changed = True
        elif new := [uuid for uuid in there if uuid not in book.gpus]:
            book.gpus = (*book.gpus, *new)
            self._ledger.changed = True
        # MIG instances come and go.
        book.memory = {gpu.uuid: book.memory[gpu.uuid] for gpu in report.gpus if gpu.uuid in book.memory}

    def _count_errors(self, gpus: Iterable[Gpu], now: float) -> None:
        for uuid, gpu in _cards(gpus).items():
            before = self._ledger.book.known.get(uuid, Known())
            seen, known = rules.news(gpu, rules.learn(gpu, before), now)
            for sign in seen:
                self._tell(Evidence(uuid, sign.sign, sign.code, sign.detail, now, self._holder(uuid, now)))
            if known != before:
                self._ledger.book.known[uuid] = known
                self._ledger.changed = True

    def _holder(self, uuid: str, now: float) -> str:
        """Who has a card, or the first of those that have a part of it."""
        parts = (gpu.uuid for gpu in self._gpus if card(gpu) == uuid)
        return next((holder for part in parts if (holder := self.holders.of(part, now))), "")

    def _holding(self, gpu: Gpu) -> Iterable[Seen]:
        holding = rules.holding(gpu, self._ledger.book.known.get(card(gpu), Known()))
        yield from (seen for seen in holding if seen.sign is not Sign.DRIVER or self._lasts(gpu.uuid, gpu.problem))
        memory = self._memory(gpu)
        if memory is not None:
            yield memory

    def _of_host(self, report: HardwareReport) -> Iterable[Seen]:
        """What is wrong with the driver, or with how many GPUs there are."""
        book, cards = self._ledger.book, _cards(report.gpus)
        problem = rules.driver_problem(report.gpu_problem, had_gpus=bool(book.gpus))
        if problem is not None and self._lasts("", report.gpu_problem):
            yield problem
        nameless = any(gpu.uuid == placeholder(gpu.index) for gpu in report.gpus)
        if report.gpu_problem is not None or nameless or book.boot_id != (report.boot_id or ""):
            return
        missing = [uuid for uuid in book.gpus if uuid not in cards or _gone(cards[uuid])]
        if missing:
            left = len(book.gpus) - len(missing)
            yield Seen(Sign.GPU_COUNT, left, f"{left} of the {len(book.gpus)} GPUs that this boot had are left")

    def _lasts(self, uuid: str, problem: Problem | None) -> bool:
        """Whether a problem is one that does not pass by itself, or has not for long enough."""
        if problem is None or problem.code not in _MAY_PASS:
            return True
        return self._now() - self._problems[uuid, problem.code] >= _PASSED_SECONDS

    def _begin_and_end(self, held: Mapping[str, Iterable[Seen]], now: float) -> None:
        """Keep since when signs hold, and tell of those that just began."""
        holding = {(uuid, seen.sign, seen.code): seen for uuid, signs in held.items() for seen in signs}
        self._since = {key: self._since.get(key, now) for key in holding}
        told = {(uuid, seen.sign.name) for (uuid, _, _), seen in holding.items() if seen.sign in _TOLD_AT_ONCE}
        for (uuid, sign, code), seen in holding.items():
            if (uuid, sign.name) in told - self._ledger.book.told:
                whole = next((card(gpu) for gpu in self._gpus if gpu.uuid == uuid), uuid)
                self._tell(Evidence(whole, sign, code, seen.detail, now, self.holders.of(uuid, now)))
        if told != self._ledger.book.told:
            self._ledger.book.told = told
            self._ledger.changed = True

    def _conditions(self, uuid: str, holding: Iterable[Seen]) -> tuple[Evidence, ...]:
        return tuple(
            Evidence(uuid, seen.sign, seen.code, seen.detail, self._since[uuid, seen.sign, seen.code])
            for seen in holding
        )

    # --- memory -----------------------------------------------------------------------------------------------------

    def _memory(self, gpu: Gpu) -> Seen | None:
        """Memory that a node's end did not free."""
        book, used = self._ledger.book, gpu.memory_used_bytes
        before = book.memory.get(gpu.uuid, Memory())
        if gpu.uuid in self.holders.held:
            self._clean.discard(gpu.uuid)
            after = replace(before, left=0)
        elif used is None or not self.holders.certain or not self._tested.isdisjoint((gpu.uuid, card(gpu))):
            after = before
        else:
            after = self._judged(gpu, used, before)
        if after != before:
            book.memory[gpu.uuid] = after
            self._ledger.changed = True
        return Seen(Sign.MEMORY_HELD, after.left, _left(gpu, after)) if after.left and used is not None else None

    def _judged(self, gpu: Gpu, used: int, memory: Memory) -> Memory:
        over = used - (memory.idle or 0)
        if memory.left:
            return memory if over > _MEMORY_SLACK else replace(memory, left=0)
        free_for = self.holders.free_for(gpu.uuid, self._now())
        if free_for is not None and gpu.uuid not in self._clean:
            if free_for < _MEMORY_GRACE:
                return memory
            if over > (_MEMORY_UNSURE if memory.idle is None else _MEMORY_SLACK):
                return replace(memory, left=over)
            self._clean.add(gpu.uuid)
        if gpu.vitals is not None and gpu.vitals.processes == () and (memory.idle is None or used < memory.idle):
            return replace(memory, idle=used)
        return memory


def _cards(gpus: Iterable[Gpu]) -> dict[str, Gpu]:
    """One of each whole GPU, by its uuid: what it tells of health is the same in each of its MIG instances."""
    return {card(gpu): gpu for gpu in gpus if gpu.uuid != placeholder(gpu.index)}


def _gone(gpu: Gpu) -> bool:
    return gpu.problem is not None and gpu.problem.code == "gpu-lost"


def _left(gpu: Gpu, memory: Memory) -> str:
    processes = gpu.vitals.processes if gpu.vitals is not None else None
    who = f"by {', '.join(map(_named, processes))}" if processes else "and no process is seen that has it"
    return f"{memory.left / (1 << 30):.1f} GiB of its memory stayed in use when its last node had ended, {who}"


def _named(process: GpuProcess) -> str:
    try:
        name = Path(f"/proc/{process.pid}/comm").read_text().strip()
    except (OSError, ValueError):
        # Ended meanwhile, or of another container: the number is all that is known.
        return f"process {process.pid}"
    return f"process {process.pid} ({name})"
