"""The user of a history: submits jobs, stops some, and tries again until there is an answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from coordinator.core.events import JobSubmitted, StopRequested
from coordinator.core.spec import JobSpec
from tests.sim.network import Link

if TYPE_CHECKING:
    from tests.sim.world import World

ANSWER_SECONDS = 3.0


class User:
    """Calls over a link of its own. ``busy`` counts requests that have no answer yet."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.link = Link()
        self.busy = 0

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

    def _call(self, event: JobSubmitted | StopRequested, done: Any) -> None:
        self.busy += 1
        world, finished = self.world, False

        def answered(answer: Any) -> None:
            nonlocal finished
            if isinstance(answer, Exception):
                return
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
