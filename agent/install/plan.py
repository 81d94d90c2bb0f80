"""What is to be there at the end, worked out before anything is touched."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from agent.identity import Identity, IdentityDamaged, NotJoined, load_identity
from agent.install import supervision
from agent.install.coordinator import Coordinator, Manifest, host_kind
from agent.install.errors import CannotInstall
from agent.install.order import Order
from agent.installation import (
    Installation,
    InstallationDamaged,
    Layout,
    Mode,
    NotInstalled,
    Packages,
    Supervisor,
    layout,
    load,
    version_name,
)


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be there at the end. ``before`` is the installation that is there already, if any."""

    order: Order
    places: Layout
    coordinator: Coordinator
    manifest: Manifest
    installation: Installation
    name: str
    before: Installation | None

    @property
    def environment(self) -> Path:
        """Where this version goes."""
        return self.installation.versions / self.name


def make_plan(order: Order, environ: Mapping[str, str]) -> Plan:
    """Ask the coordinator, look at the machine. Raises ``CannotInstall``."""
    coordinator = Coordinator(order.address, order.folder / "ca.pem")
    manifest = coordinator.manifest()
    places = layout(os.geteuid() == 0, environ)
    prefix = order.prefix or places.prefix
    before = found_in(prefix)
    version = order.wheel.name.split("-")[1]
    by = before.supervisor if before else supervision.choose(places.mode)
    root = places.mode is Mode.ROOT
    installation = Installation(
        prefix=prefix,
        mode=places.mode,
        supervisor=by,
        state_dir=order.state_dir or (before.state_dir if before else places.state_dir),
        coordinator=order.coordinator or ",".join(manifest.join),
        install_url=f"https://{order.address}",
        pin=order.pin,
        python=sys.executable,
        packages=_packages(order, manifest),
        unit="" if by is Supervisor.BACKGROUND else supervision.UNIT,
        user=supervision.agents_user() if root else "",
    )
    return Plan(
        order, places, coordinator, manifest, installation, version_name(version, manifest.wheel.sha256), before
    )


def found_in(prefix: Path) -> Installation | None:
    """The installation that is there, if it can be read."""
    with suppress(NotInstalled, InstallationDamaged):
        return load(prefix)
    return None


def _packages(order: Order, manifest: Manifest) -> Packages:
    """A wheelhouse was built to be used; where it has nothing for this host, its package index is asked."""
    fits = Packages.WHEELHOUSE if manifest.house(host_kind()) else Packages.INDEX
    return order.packages or fits


def identity_of(plan: Plan) -> Identity | None:
    """Who this host is already; None when it is to join (again)."""
    try:
        identity = load_identity(plan.installation.state_dir)
    except (NotJoined, IdentityDamaged):
        return None
    if identity.cluster_id != plan.manifest.cluster:
        text = f"this machine is host {identity.host_name} of cluster {identity.cluster_id}, the line is for cluster"
        raise CannotInstall(
            f"{text} {plan.manifest.cluster}: run 'agent uninstall' first, or give other places with"
            " --prefix and --state-dir"
        )
    wanted = plan.order.join.force or time.time() >= identity.not_after
    return None if wanted else identity
