"""A planner that remembers nothing: every turn it looks at every job and every host. What the real one is held to."""

from __future__ import annotations

from dataclasses import replace
from math import inf

from coordinator.core import costs, fit, needs, score
from coordinator.core.ids import HostId, JobId
from coordinator.core.model import Allocation, Host, Job, JobState, Phase
from coordinator.core.spec import Optimize
from coordinator.core.state import State
from coordinator.core.usage import Usage


class Naive:
    """Plans for nodes that go anywhere, of jobs whose nodes have not failed, without reservations."""

    def __init__(self, state: State, served: float) -> None:
        self.state, self.served = state, served
        self.usage: dict[HostId, Usage] = {}
        for allocation in state.allocations.values():
            self.usage.setdefault(allocation.host_id, Usage()).hold(allocation)
        self.pending = {job: list(ranks) for job, ranks in state.pending.items()}
        self.held: dict[str, list[float]] = {}
        for allocation in state.allocations.values():
            self._count(allocation)

    def plan(self) -> list[tuple[str, str, str]]:
        """Allocations in the order in which they are made: id, host, variant."""
        made: list[tuple[str, str, str]] = []
        blocked: set[JobId] = set()
        while True:
            jobs = [job for job in self.state.jobs.values() if job.id not in blocked and self._waits(job)]
            if not jobs:
                return made
            job = min(jobs, key=lambda each: (-each.spec.priority, self._share(each.user), each.number))
            allocation = self._best(job)
            if allocation is None:
                blocked.add(job.id)
                continue
            self.pending[job.id].pop(0)
            self.usage.setdefault(allocation.host_id, Usage()).hold(allocation)
            self._count(allocation)
            made.append((allocation.id, allocation.host_id, allocation.variant))

    def _waits(self, job: Job) -> bool:
        return bool(self.pending[job.id]) and not job.state.ended and job.state is not JobState.STOPPING

    def _best(self, job: Job) -> Allocation | None:
        found = []
        for host in self.state.hosts.values():
            if fit.unusable(host) is not None:
                continue
            usage = self.usage.get(host.id, Usage())
            options = [(name, needs.parts_of(job.spec, name)[0].need) for name in needs.variants_of(job.spec)]
            able = [
                (self._key(job, host, usage, name, need), place, name, need)
                for place, (name, need) in enumerate(options)
                if fit.never(host, need) is None and fit.not_now(host, usage, need) is None
            ]
            if able:
                paced = all(needs.speed_of(job.spec, name) is not None for _, _, name, _ in able)
                found.append((min(able[:None] if paced else able[:1]), host, usage))
        if not found:
            return None
        (_, _, variant, need), host, usage = min(found, key=lambda each: each[0][0])
        held = fit.hold(host, usage, need)
        assert held is not None
        rank = self.pending[job.id][0]
        return fit.allocation(job, rank, 1, host, held, Phase.RUNNING, self.served, variant)

    def _key(self, job: Job, host: Host, usage: Usage, variant: str, need: fit.Need) -> score.Key:
        mine = [a for a in self.usage_of_job(job) if a == host.id]
        spreads = job.spec.optimize is Optimize.SPREAD
        terms = score.Terms(
            rate=costs.rate(host, need.cpus, need.memory_bytes, need.gpus, need.share),
            hours=(job.spec.max_duration or 3600.0) / 3600.0 / (needs.speed_of(job.spec, variant) or 1.0),
            latency=inf,
            held=score.held_of(host, usage),
            domain=len(mine) if spreads else 0,
            here=len(mine) if spreads else 0,
            number=score.number(host),
        )
        return score.key(job.spec.optimize, terms)

    def usage_of_job(self, job: Job) -> list[HostId]:
        """The host of each of the job's allocations."""
        mine = f"{job.id}."
        return [host for host, usage in self.usage.items() for a in usage.allocations if a.startswith(mine)]

    def _count(self, allocation: Allocation) -> None:
        held = self.held.setdefault(self.state.jobs[allocation.job_id].user, [0.0, 0.0, 0.0])
        parts = (allocation.cpus, allocation.memory_bytes, len(allocation.gpus) * allocation.share)
        for place, part in enumerate(parts):
            held[place] += part

    def _share(self, user: str) -> float:
        machines = [host.hardware for host in self.state.hosts.values() if host.hardware is not None]
        fleet = (
            sum(hardware.cpus for hardware in machines),
            sum(hardware.memory_bytes for hardware in machines),
            sum(len(hardware.gpus) for hardware in machines),
        )
        held = self.held.get(user, [0.0, 0.0, 0.0])
        share = max(part / whole if whole else 0.0 for part, whole in zip(held, fleet, strict=True))
        return round(share + self.state.shares.recent(user, self.served), 9)


def reordered(state: State) -> None:
    """The same hosts, the other way round."""
    state.hosts = dict(reversed(state.hosts.items()))
    state.usage = {host: replace(usage) for host, usage in reversed(state.usage.items())}
