"""``coordinator wheelhouse``: packages for hosts that reach no package index."""

from __future__ import annotations

import os

import click

from coordinator.cli import exits
from coordinator.cli.common import document, say
from coordinator.cli.reporting import CommandFailed


@click.group("wheelhouse")
def command() -> None:
    """Packages for hosts that reach no package index."""


@command.command("build")
@click.option("--python", "pythons", multiple=True, metavar="3.X", help="The hosts' Python. repeatable.  [ours]")
@click.option("--machine", metavar="NAME", help="The hosts' machine: x86_64, aarch64.  [default: ours]")
@click.option("--installed", is_flag=True, help="From what is installed here, without any index.")
@click.option("--data-dir", metavar="DIR", help="The coordinator's, as for serve.")
@click.option("--config", metavar="FILE", help="Settings of the coordinator, as for serve.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")
def build(pythons: tuple[str, ...], machine: str | None, installed: bool, as_json: bool, **flags: str | None) -> None:
    """Get all packages that hosts need, as wheels, into the data directory of the coordinator on this machine.

    The installer uses them on hosts of that Python and machine, in place of a package index. The coordinator may run
    meanwhile. pip downloads them from the index that it is set up for here.
    """
    from coordinator.cli import words
    from coordinator.install import house
    from coordinator.install.wheel import CannotPack
    from coordinator.settings import load_settings

    config = flags.pop("config")
    settings = load_settings(flags, os.environ, config)
    ours = house.here()
    built = {}
    try:
        for python in pythons or (ours.python,):
            kind = house.Kind(python, machine or ours.machine)
            wheels = built[kind.name] = house.build(settings.data_dir, kind, installed=installed)
            say(f"{kind.name}: {len(wheels)} wheels, {words.size(sum(wheel.size for wheel in wheels))}")
    except (house.CannotBuild, CannotPack) as error:
        raise CommandFailed(str(error), exits.REFUSED) from None
    except OSError as error:
        place = settings.data_dir / "wheelhouse"
        text = f"{place} can't be written ({error.strerror}): mend that, and build again"
        raise CommandFailed(text, exits.REFUSED) from None
    if as_json:
        click.echo(document(wheelhouse={name: [wheel.name for wheel in wheels] for name, wheels in built.items()}))
