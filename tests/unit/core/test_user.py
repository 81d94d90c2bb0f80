"""Whom a job's nodes run as: hosts whose owners do not allow that user are passed over, with the reason."""

from __future__ import annotations

from dataclasses import replace

import pytest

from coordinator.core import explain
from coordinator.core.hardware import UserPolicy
from coordinator.core.spec import JobSpec, Placement
from coordinator.core.where import user_refused
from tests.fakes.world import World, hardware

TASK = UserPolicy("rallypoint-task", ("rallypoint-task", "987"))
OWN = UserPolicy("bob", ("bob", "1000"), "its agent runs as the ordinary user 'bob'")


def as_user(user: str) -> JobSpec:
    return JobSpec(argv=("x",), placement=Placement.ANY, user=user)


@pytest.mark.parametrize(
    ("policy", "user", "reason"),
    [
        (TASK, "rallypoint-task", None),
        (TASK, "987:987", None),
        (TASK, "alice", "may not run as 'alice', only as rallypoint-task or 987 (name others in allow_users of its"),
        (OWN, "root", "may not run as 'root', only as bob or 1000 (its agent runs as the ordinary user 'bob')"),
        (UserPolicy("x", ("x", "*")), "alice", None),
        (UserPolicy("x", ("x", "*")), "root", "may not run as 'root'"),
        (UserPolicy("x", ("x", "*")), "0:0", "may not run as '0:0'"),
        (UserPolicy("x", ("x", "root")), "root:root", None),
        (None, "alice", "may not run as 'alice': its agent is older and runs nodes as itself; upgrade it"),
    ],
)
def test_who_is_refused_and_why(policy: UserPolicy | None, user: str, reason: str | None) -> None:
    world = World()
    host = world.add_host("h", replace(hardware(), users=policy))
    found = user_refused(host, user)
    assert (found is None) is (reason is None)
    assert (found or "").startswith(reason or "")
    job = world.submit(as_user(user))
    assert bool(world.held(job.id)) is (reason is None)
    if reason is not None:
        assert f"h: {reason}" in explain.summary(world.state, world.job(job.id))


def test_a_job_goes_where_its_user_is_allowed() -> None:
    world = World()
    world.add_host("a", replace(hardware(), users=TASK))
    allowed = world.add_host("b", replace(hardware(), users=replace(TASK, allowed=(*TASK.allowed, "alice"))))
    job = world.submit(as_user("alice:video"))
    assert [a.host_id for a in world.held(job.id)] == [allowed.id]
    nobody = world.submit(JobSpec(argv=("x",), placement=Placement.ANY, nodes=2))
    assert len(world.held(nobody.id)) == 2
