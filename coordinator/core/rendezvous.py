"""The barrier at which a gang's members are prepared, probed and told of each other: all start, or none."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

from coordinator.core import network, preflight, startup, verdict
from coordinator.core.changes import AllocationUpdated, DeadlineSet, GangUpdated, JobUpdated
from coordinator.core.effects import DesiredChanged
from coordinator.core.ids import HostId
from coordinator.core.measured import Answer
from coordinator.core.model import Allocation, Gang, GangPhase, Group, GroupMember, Job, Phase
from coordinator.core.placement import gang_deadline
from coordinator.core.regroup import avoiding
from coordinator.core.spares import is_spare
from coordinator.core.state import State
from coordinator.core.stopping import lose_gang
from coordinator.core.turn import Turn


def members_of(state: State, gang: Gang) -> list[Allocation]:
    """The gang's allocations that still hold something, in rank order, without its spares."""
    spec = state.jobs[gang.job_id].spec
    allocations = (state.allocations[a] for a in state.job_allocations[gang.job_id])
    return sorted((a for a in allocations if not is_spare(spec, a)), key=lambda a: a.rank)


def on_prepared(turn: Turn, gang: Gang) -> None:
    """A member is prepared and its probes are in: form the group, let go, or wait for the others."""
    state = turn.state
    job = state.jobs[gang.job_id]
    members = members_of(state, gang)
    failed = _failed_probe(state, members)
    if failed is not None:
        lose_gang(turn, gang, f"rendezvous failed: {failed}", retry=True)
        return
    if len(members) < job.spec.nodes or any(m.observed is not Phase.PREPARED for m in members):
        return
    hosts = [member.host_id for member in members]
    addresses = network.common_addresses(state, hosts, hosts)
    unreached = [host for host, address in addresses.items() if address is None]
    if unreached:
        names = ", ".join(state.hosts[host].name for host in unreached)
        lose_gang(turn, gang, f"rendezvous failed: no address on which every member reaches {names}", retry=True)
        return
    group = _group(gang, members, {host: address or "" for host, address in addresses.items()})
    if job.spec.preflight is not None:
        turn.record(DeadlineSet(gang_deadline(job), None))
        if preflight.begin(turn, job, group):
            return
        _conclude(turn, gang, group)
        return
    _start(turn, gang, group)


def on_repeated(turn: Turn, gang: Gang) -> None:
    """A member that is known to be prepared says so again: its group may have been about to measure when the
    coordinator ended. It begins anew once all members are in contact and have said whom they reach."""
    state = turn.state
    if gang.phase is GangPhase.PREPARING and gang.job_id not in state.measuring:
        hosts = [member.host_id for member in members_of(state, gang)]
        if all(state.reach.probed(source, target) for source, target in permutations(hosts, 2)):
            on_prepared(turn, gang)


def on_answer(turn: Turn, allocation: Allocation, answer: Answer) -> None:
    """A member has measured."""
    gang = turn.state.gangs.get(allocation.job_id)
    if gang is not None and gang.generation == allocation.attempt and preflight.is_measuring(turn.state, gang):
        group = turn.state.measuring[gang.job_id].group
        if preflight.take(turn, allocation, answer):
            _conclude(turn, gang, group)


def on_preflight_deadline(turn: Turn, job: Job) -> None:
    """The time of a step of measuring is over."""
    gang = turn.state.gangs.get(job.id)
    if gang is not None and preflight.is_measuring(turn.state, gang):
        group = turn.state.measuring[job.id].group
        if preflight.give_up(turn, job):
            _conclude(turn, gang, group)


def _conclude(turn: Turn, gang: Gang, group: Group) -> None:
    """All is measured: start the group, or do with it what its job asks for where something is slow."""
    job = turn.state.jobs[gang.job_id]
    found = verdict.reach(turn, job, turn.state.measuring[job.id])
    turn.record(JobUpdated(replace(job, preflight=found.report, reason=found.reason)))
    if found.starts:
        _start(turn, gang, group)
        return
    job = turn.state.jobs[gang.job_id]
    if found.avoids:
        turn.record(JobUpdated(avoiding(job, gang, *found.avoids)))
    lose_gang(turn, gang, found.reason, retry=bool(found.avoids), exit_code=1)


def on_deadline(turn: Turn, job: Job) -> None:
    """The time to prepare is over."""
    gang = turn.state.gangs.get(job.id)
    if gang is None or gang.phase is not GangPhase.PREPARING:
        return
    late = [m for m in members_of(turn.state, gang) if m.observed is not Phase.PREPARED]
    if not late:
        late = _silent(turn.state, members_of(turn.state, gang))
        if not late:
            on_prepared(turn, gang)
            return
    names = ", ".join(turn.state.hosts[m.host_id].name for m in late)
    turn.record(JobUpdated(avoiding(job, gang, *(m.host_id for m in late))))
    seconds = turn.state.timing.prepare
    lose_gang(turn, gang, f"rendezvous failed: {names} not prepared within {seconds:g} s", retry=True)


def _silent(state: State, members: list[Allocation]) -> list[Allocation]:
    """Of members that are prepared but were not told to measure, since the coordinator was restarted: those that have
    not said again whom they reach."""
    hosts = [member.host_id for member in members]
    return [m for m in members if any(not state.reach.probed(m.host_id, h) for h in hosts if h != m.host_id)]


def _failed_probe(state: State, members: list[Allocation]) -> str | None:
    reach, hosts = state.reach, [member.host_id for member in members]
    everybody = reach.mask(hosts)
    unknown = len(hosts) > 1 and any(reach.slot(host) is None for host in hosts)
    for source in members:
        prepared = source.observed is Phase.PREPARED
        if prepared and (unknown or not reach.reaches_all(source.host_id, everybody)):
            targets = (host for host in hosts if host != source.host_id and not reach.reaches(source.host_id, host))
            return next((network.describe_failure(state, source.host_id, target) for target in targets), None)
    return None


def _group(gang: Gang, members: list[Allocation], addresses: dict[HostId, str]) -> Group:
    master = members[0]
    return Group(
        generation=gang.generation,
        master_address=addresses[master.host_id],
        master_port=master.master_port,
        members=tuple(
            GroupMember(m.rank, m.host_id, addresses[m.host_id], max(1, len(m.gpus)), len(m.gpus)) for m in members
        ),
    )


def _start(turn: Turn, gang: Gang, group: Group) -> None:
    job, members = turn.state.jobs[gang.job_id], members_of(turn.state, gang)
    # The one that is held now: an agent may have been restarted while the group measured.
    group = replace(group, master_port=members[0].master_port)
    addresses = {member.host_id: member.address for member in group.members}
    turn.record(DeadlineSet(gang_deadline(job), None))
    turn.record(GangUpdated(replace(gang, phase=GangPhase.RUNNING, group=group)))
    later = startup.later_ranks(job.spec)
    for member in members:
        wanted = Phase.PREPARED if member.rank in later else Phase.RUNNING
        turn.record(AllocationUpdated(replace(member, wanted=wanted, address=addresses[member.host_id])))
        turn.effect(DesiredChanged(member.host_id, member.id))
    startup.begin(turn, job)
