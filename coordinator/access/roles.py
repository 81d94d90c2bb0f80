"""Authorisation: one rule for every method of every service, and the only place that decides."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, StrEnum
from types import MappingProxyType

from coordinator.access.errors import PermissionDenied


class Role(StrEnum):
    """A user's role. Each may do all that the one before may."""

    VIEWER = "viewer"
    USER = "user"
    ADMIN = "admin"

    def includes(self, needed: Role) -> bool:
        """Whether this role may do what ``needed`` may."""
        order = list(Role)
        return order.index(self) >= order.index(needed)


class By(Enum):
    """Callers that are not users."""

    HOST = "a host, by its certificate"
    JOIN_TOKEN = "a new host, by the join token in the request"  # noqa: S105 -- words, not a secret


Rule = Role | By


def _service(name: str, rules: Mapping[str, Rule]) -> dict[str, Rule]:
    return {f"/{name}/{method}": rule for method, rule in rules.items()}


RULES: Mapping[str, Rule] = MappingProxyType(
    _service(
        "rallypoint.v1.AgentService",
        {
            "OpenSession": By.HOST,
            "Report": By.HOST,
            "PublishLogs": By.HOST,
            "FetchArchive": By.HOST,
            "RenewCertificate": By.HOST,
            "FetchWheel": By.HOST,
            "Vacate": By.HOST,
            "Leave": By.HOST,
        },
    )
    | _service(
        "rallypoint.v1.AccessService",
        {
            "Join": By.JOIN_TOKEN,
            "CreateToken": Role.ADMIN,
            "ListTokens": Role.ADMIN,
            "RevokeToken": Role.ADMIN,
            "CreateUser": Role.ADMIN,
            "ListUsers": Role.ADMIN,
            "RemoveUser": Role.ADMIN,
            "WhoAmI": Role.VIEWER,
        },
    )
    | _service(
        "rallypoint.v1.HostService",
        {
            "ListHosts": Role.VIEWER,
            "GetHost": Role.VIEWER,
            "CordonHost": Role.ADMIN,
            "DrainHost": Role.ADMIN,
            "ResumeHost": Role.ADMIN,
            "RemoveHost": Role.ADMIN,
            "QuarantineGpu": Role.ADMIN,
            "ReleaseGpus": Role.ADMIN,
            "TestGpus": Role.ADMIN,
            "ListEvents": Role.VIEWER,
            "StartUpgrade": Role.ADMIN,
            "CancelUpgrade": Role.ADMIN,
            "GetUpgrade": Role.VIEWER,
            "WatchUpgrade": Role.VIEWER,
        },
    )
    | _service(
        "rallypoint.v1.JobService",
        {
            "SubmitJob": Role.USER,
            "PlanJob": Role.USER,
            "GetJob": Role.VIEWER,
            "ListJobs": Role.VIEWER,
            "ListNodes": Role.VIEWER,
            "StopJob": Role.USER,
            "RetryJob": Role.USER,
            "WatchJob": Role.VIEWER,
            "TailLogs": Role.VIEWER,
            "ExplainJob": Role.VIEWER,
            "GetCosts": Role.VIEWER,
            "UploadArchive": Role.USER,
        },
    )
    # No call without an identity, not even this one; load balancers use /healthz.
    | _service("grpc.health.v1.Health", {"Check": Role.VIEWER, "List": Role.VIEWER, "Watch": Role.VIEWER})
)
"""Every method that may be called, by its full name. What is not listed is refused."""


def rule_of(method: str) -> Rule:
    """The rule of a method (``/package.Service/Method``). Raises ``PermissionDenied`` for one without a rule."""
    try:
        return RULES[method]
    except KeyError:
        raise PermissionDenied(f"{method} may be called by nobody: it has no authorisation rule") from None


def authorize_user(method: str, name: str, role: str) -> None:
    """Let user ``name`` call ``method``, or raise ``PermissionDenied``."""
    rule = rule_of(method)
    short = method.rpartition("/")[2]
    if isinstance(rule, By):
        raise PermissionDenied(f"{short} may be called only by {rule.value}, not by user {name!r}")
    if not Role(role).includes(rule):
        message = f"{short} needs role '{rule}', but user {name!r} has role '{role}': ask an admin"
        raise PermissionDenied(message, {"needed": str(rule), "role": role})


def authorize_host(method: str, host_id: str) -> None:
    """Let a host call ``method`` on the agent port, or raise ``PermissionDenied``."""
    if rule_of(method) is not By.HOST:
        raise PermissionDenied(f"{method.rpartition('/')[2]} may not be called by a host ({host_id})")
