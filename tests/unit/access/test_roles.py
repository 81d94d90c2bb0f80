"""Every method of every service has a rule, and the rules hold."""

from __future__ import annotations

import pytest
from google.protobuf.descriptor import FileDescriptor
from rallypoint.v1 import access_service_pb2, agent_service_pb2, host_service_pb2, job_service_pb2

from coordinator.access.errors import PermissionDenied
from coordinator.access.roles import RULES, By, Role, authorize_host, authorize_user

FILES: list[FileDescriptor] = [
    module.DESCRIPTOR for module in (access_service_pb2, agent_service_pb2, host_service_pb2, job_service_pb2)
]
METHODS = sorted(
    f"/{service.full_name}/{method.name}"
    for file in FILES
    for service in file.services_by_name.values()
    for method in service.methods
)
HEALTH = {"/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/List", "/grpc.health.v1.Health/Watch"}


def test_every_method_has_a_rule_and_every_rule_a_method() -> None:
    assert set(METHODS) == set(RULES) - HEALTH


@pytest.mark.parametrize("method", METHODS)
def test_every_pair_of_method_and_role(method: str) -> None:
    rule = RULES[method]
    for role in Role:
        if isinstance(rule, Role) and list(Role).index(role) >= list(Role).index(rule):
            authorize_user(method, "ann", role)
        else:
            with pytest.raises(PermissionDenied):
                authorize_user(method, "ann", role)


@pytest.mark.parametrize("method", METHODS)
def test_hosts_call_the_agent_service_only(method: str) -> None:
    if method.startswith("/rallypoint.v1.AgentService/"):
        assert RULES[method] is By.HOST
        authorize_host(method, "h-1")
    else:
        with pytest.raises(PermissionDenied):
            authorize_host(method, "h-1")


def test_what_has_no_rule_is_refused() -> None:
    with pytest.raises(PermissionDenied, match="it has no authorisation rule"):
        authorize_user("/rallypoint.v1.JobService/New", "root", "admin")
    with pytest.raises(PermissionDenied):
        authorize_host("/rallypoint.v1.AgentService/New", "h-1")


def test_the_words() -> None:
    with pytest.raises(PermissionDenied, match="SubmitJob needs role 'user', but user 'ann' has role 'viewer'"):
        authorize_user("/rallypoint.v1.JobService/SubmitJob", "ann", "viewer")


def test_only_reading_is_open_to_viewers() -> None:
    reading = ("List", "Get", "Watch", "Tail", "Explain", "WhoAmI")
    for method in METHODS:
        if RULES[method] is Role.VIEWER:
            assert method.rpartition("/")[2].startswith(reading)
