"""Which hosts a job wants, whatever their hardware: ``where``, and whom it runs as, as a filter that says why not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase

from coordinator.core.hardware import ANY_USER
from coordinator.core.model import Host
from coordinator.core.spec import HostFilter, SpotPolicy


@dataclass(frozen=True, slots=True)
class Where:
    """A job's ``HostFilter``, hashable: jobs that want the same hosts are looked at together."""

    backends: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()
    instance_types: tuple[str, ...] = ()
    fleets: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    labels: tuple[tuple[str, str], ...] = ()
    max_price: float | None = None
    spot: SpotPolicy = SpotPolicy.AUTO
    user: str = ""

    @classmethod
    def of(cls, wanted: HostFilter, user: str | None = None) -> Where:
        """What the filter asks, of a job whose nodes run as ``user``; ``ANYWHERE`` when that is nothing."""
        labels = tuple(sorted(wanted.labels.items()))
        where = cls(
            wanted.backends,
            wanted.regions,
            wanted.instance_types,
            wanted.fleets,
            wanted.hosts,
            labels,
            wanted.max_price,
            wanted.spot,
            user or "",
        )
        return ANYWHERE if where == ANYWHERE else where

    def refuses(self, host: Host, rate: float) -> str | None:
        """Why a node may not be placed on the host, of which it would hold what costs ``rate`` (USD an hour)."""
        return next(self.refusals(host, rate), None)

    def refusals(self, host: Host, rate: float) -> Iterator[str]:
        """The same of every filter that refuses it."""
        facts = host.facts
        named = (
            ("backend", facts.backend, self.backends),
            ("region", facts.region, self.regions),
            ("instance type", facts.instance_type, self.instance_types),
            ("fleet", facts.fleet, self.fleets),
        )
        for what, has, wanted in named:
            if wanted and has not in wanted:
                yield f"{what} {has or 'unknown'}, wanted {' or '.join(wanted)}"
        if self.hosts and not any(fnmatchcase(host.name, pattern) for pattern in self.hosts):
            yield f"its name is not {' or '.join(self.hosts)}"
        for label, value in self.labels:
            if facts.labels.get(label) != value:
                yield f"label {label}={facts.labels.get(label, '')}, wanted {value}"
        if self.spot is not SpotPolicy.AUTO and facts.spot is not (self.spot is SpotPolicy.SPOT):
            yield f"{'a spot' if facts.spot else 'an on-demand'} host, spot_policy is {self.spot.value}"
        if self.max_price is not None and rate > self.max_price:
            yield f"a node would cost {rate:.4g} USD an hour there, max_price is {self.max_price:.4g}"
        if self.user and (reason := user_refused(host, self.user)) is not None:
            yield reason


def user_refused(host: Host, user: str) -> str | None:
    """Why nodes may not run as ``user`` on the host; None when they may. A group in it is the host's own to judge."""
    policy = host.hardware.users if host.hardware is not None else None
    if policy is None:
        return f"may not run as {user!r}: its agent is older and runs nodes as itself; upgrade it"
    name = user.partition(":")[0]
    anybody = ANY_USER in policy.allowed and name not in ("root", "0")
    if name in policy.allowed or anybody:
        return None
    why = policy.reason or "name others in allow_users of its agent.toml"
    return f"may not run as {user!r}, only as {' or '.join(policy.allowed) or policy.default} ({why})"


ANYWHERE = Where()
