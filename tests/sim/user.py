"""The user of a history: submits jobs, stops some, and tries again until there is an answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from coordinator.core.errors import Conflict, NotFound
from coordinator.core.events import (
    CordonRequested,
    DrainRequested,
    Event,
    HostJoined,
    JobSubmitted,
    ReleaseRequested,
    RemovalRequested,
    RetryRequested,
    StopRequested,
    TestRequested,
)
from coordinator.core.spec import JobSpec
from tests.sim.network import Link

if TYPE_CHECKING:
    from tests.sim.host import Host
    from tests.sim.world import World

ANSWER_SECONDS = 3.0


class User:
    """Calls over a link of its own. ``busy`` counts requests that have no answer yet."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.link = Link()
        self.busy = 0
        self._cordoning: set[str] = set()

    def submit(self, spec: JobSpec, stop_after: float | None, abort: bool = False) -> None:
        """Submit a job, and stop it ``stop_after`` seconds after it was accepted."""

        def accepted(job: Any) -> None:
            self.world.ledger.submitted(job)
            self.world.trace("accepted", job.id, job.name)
            if stop_after is not None:
                self.world.clock.after(stop_after, None, self.stop, job.id, abort)

        self._call(JobSubmitted(spec, "ann", f"request-{spec.name}"), accepted)

    def stop(self, job_id: str, abort: bool = False) -> None:
        """Stop a job."""

        def stopped(_: Any) -> None:
            self.world.ledger.stopped(job_id)
            self.world.trace("stopping", job_id)

        self._call(StopRequested(job_id, "ann", abort=abort), stopped)

    def retry(self, job: str) -> None:
        """Have an ended job tried again; a repeated request finds that it has not ended, or ended anew."""

        def retried(answer: Any) -> None:
            self.world.trace("tried again", job, answer)

        self._call(RetryRequested(job, "ann"), retried, (Conflict, NotFound))

    def cordon(self, host_id: str, seconds: float) -> None:
        """Let no new work on a host, for ``seconds`` after that was accepted; one that is closed already stays so."""
        self._close(host_id, seconds, CordonRequested(host_id, True))

    def drain(self, host_id: str, after: float, seconds: float) -> None:
        """As ``cordon``, and have what runs there go ``after`` a time."""
        self._close(host_id, seconds, DrainRequested(host_id, after))

    def _close(self, host_id: str, seconds: float, event: Event) -> None:

        def cordoned(answer: Any) -> None:
            if not isinstance(answer, NotFound):
                self.world.trace(host_id, type(event).__name__)
                self.world.ledger.closed(host_id)
                self.world.clock.after(seconds, None, resume)

        def resume() -> None:
            self.world.ledger.opened(host_id)
            self._call(CordonRequested(host_id, False), resumed, (NotFound,))

        def resumed(_: Any) -> None:
            self.world.trace(host_id, "resumed")
            self._cordoning.discard(host_id)

        if host_id not in self._cordoning:
            self._cordoning.add(host_id)
            self._call(event, cordoned, (NotFound,))

    def remove(self, host: Host) -> None:
        """Take a host out of the cluster, unless work is on it; another one of its kind takes its place."""

        def removed(answer: Any) -> None:
            if isinstance(answer, Conflict):
                return
            # A repeated request finds it gone.
            self.world.trace(host.id, "removed")
            self.world.ledger.removed(host.id)
            self._call(HostJoined(f"{host.name}-anew", host.facts, host.name), joined)

        def joined(answer: Any) -> None:
            other = self.world.add_host(int(answer.id[2:]), host.cpus, host.gpus, host.facts)
            self.world.trace(other.id, "joined in place of", host.id)
            other.start_agent()

        self._call(RemovalRequested(host.id), removed, (Conflict, NotFound))

    def test_gpus(self, host_id: str) -> None:
        """Have the GPUs of a host tested that nothing holds; a repeated request finds the test under way."""
        self._call(TestRequested(host_id, user="ann"), lambda _: None, (Conflict, NotFound))

    def vouch(self, host_id: str) -> None:
        """Have all GPUs of a host in service again."""
        self._call(ReleaseRequested(host_id, user="ann"), lambda _: None, (Conflict, NotFound))

    def _call(self, event: Event, done: Any, final: tuple[type[Exception], ...] = ()) -> None:
        """Ask until there is an answer; a refusal that is one of ``final`` is an answer too."""
        self.busy += 1
        world, finished = self.world, False

        def answered(answer: Any) -> None:
            nonlocal finished
            if isinstance(answer, Exception) and not isinstance(answer, final):
                return
            if not finished or isinstance(event, JobSubmitted | StopRequested):
                done(answer)
            if not finished:
                finished = True
                self.busy -= 1

        def reply(answer: Any) -> None:
            if not self.link.down_cut:
                world.clock.after(world.network.delay(self.link), None, answered, answer)

        def deliver() -> None:
            if world.coordinator is not None:
                world.coordinator.post(event, reply)

        def attempt() -> None:
            if not finished:
                world.call_up(self.link, deliver)
                world.clock.after(ANSWER_SECONDS, None, attempt)

        attempt()
