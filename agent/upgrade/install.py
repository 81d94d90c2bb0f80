"""The environment of another version, made beside the one that runs.

What is installed already is taken over file by file, as links to the same content: where the new version needs what the
old one needs, nothing is downloaded, and it takes a moment and next to no room. An environment counts only once it is
marked complete; what a dead agent left half made is made again.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from rallypoint.failpoints import reach

from agent.installation import Installation, Packages
from agent.upgrade.wheel import BadWheel, read_wheel, unpack

COMPLETE_FILE = "complete"
DISTRIBUTION = "rallypoint"
# A file that is longer holds no path that is to be changed.
_SCRIPT_BYTES = 1 << 16
_SAID = 600


class InstallFailed(Exception):
    """The version was not installed, and nothing is left of it: the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """The version ``name`` (``version``) from the file ``wheel``, from the environment ``own`` that runs.

    ``deadline`` is when it has to be there, on ``time.monotonic``.
    """

    name: str
    version: str
    wheel: Path
    own: Path
    deadline: float


def install(installation: Installation, wanted: Wanted) -> None:
    """Make the environment, complete and checked, unless it is there. Raises InstallFailed."""
    target = installation.versions / wanted.name
    if (target / COMPLETE_FILE).exists():
        return
    try:
        shutil.rmtree(target, ignore_errors=True)
        _make(installation, wanted, target)
    except InstallFailed:
        shutil.rmtree(target, ignore_errors=True)
        raise
    except (OSError, shutil.Error) as error:
        shutil.rmtree(target, ignore_errors=True)
        raise InstallFailed(f"{target} can't be made: {_plainly(error)}; the old version runs on") from None
    except BadWheel as error:
        shutil.rmtree(target, ignore_errors=True)
        raise InstallFailed(f"{error}; the old version runs on") from None


def _plainly(error: OSError | shutil.Error) -> str:
    # Copying a tree gathers its failures: the first one says it.
    if isinstance(error, shutil.Error) and error.args and isinstance(error.args[0], list):
        return str(error.args[0][0][-1])
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _make(installation: Installation, wanted: Wanted, target: Path) -> None:
    about = read_wheel(wanted.wheel)
    if (about.name, about.version) != (DISTRIBUTION, wanted.version):
        raise InstallFailed(f"the wheel is {about.name} {about.version}, not {DISTRIBUTION} {wanted.version}")
    _copy(wanted.own, target)
    site = target / site_of(wanted.own).relative_to(wanted.own)
    if set(about.requires) != set(_own_requirements(wanted.own)):
        _add_dependencies(installation, wanted, target, about.requires)
    reach("upgrade.before-unpack")
    unpack(wanted.wheel, target, site)
    reach("upgrade.after-unpack")
    _check(installation, wanted, target)
    # Before the mark: after a power failure what counts as complete has to be so.
    os.sync()
    (target / COMPLETE_FILE).touch()
    reach("upgrade.after-complete")


def site_of(environment: Path) -> Path:
    """The folder of an environment in which packages are. Raises InstallFailed."""
    found = sorted(environment.glob("lib/python3.*/site-packages"))
    if not found:
        raise InstallFailed(f"{environment} is no virtual environment; run the installer's line again")
    return found[0]


def _own_requirements(environment: Path) -> tuple[str, ...]:
    import email.parser

    for path in site_of(environment).glob(f"{DISTRIBUTION}-*.dist-info/METADATA"):
        told = email.parser.Parser().parsestr(path.read_text(encoding="utf-8"))
        return tuple(told.get_all("Requires-Dist") or ())
    return ()


def _copy(own: Path, target: Path) -> None:
    """The environment without our own packages; scripts in it call its own Python."""
    site, ours = site_of(own), _our_names(own)

    def left_out(folder: str, names: list[str]) -> list[str]:
        if Path(folder) == own:
            return [name for name in names if name == COMPLETE_FILE]
        return [name for name in names if name in ours] if Path(folder) == site else []

    shutil.copytree(own, target, symlinks=True, copy_function=_link_or_copy, ignore=left_out)
    before, after = str(own).encode(), str(target).encode()
    for script in (target / "bin").iterdir():
        if script.is_symlink() or not script.is_file() or script.stat().st_size > _SCRIPT_BYTES:
            continue
        content = script.read_bytes()
        if before in content:
            # A new file: the old one is the other environment's too.
            mode = script.stat().st_mode
            script.unlink()
            script.write_bytes(content.replace(before, after))
            script.chmod(mode)


def _link_or_copy(source: str, target: str) -> str:
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:
        return str(shutil.copy2(source, target))
    return target


def _our_names(own: Path) -> set[str]:
    """The first parts of the paths of our own files among the packages."""
    names = set()
    for record in site_of(own).glob(f"{DISTRIBUTION}-*.dist-info"):
        names.add(record.name)
        listed = record / "RECORD"
        lines = listed.read_text(encoding="utf-8").splitlines() if listed.exists() else []
        names |= {line.split("/")[0] for line in lines if "/" in line and not line.startswith((".", "/"))}
    return names or {"agent", "coordinator", DISTRIBUTION}


def _add_dependencies(installation: Installation, wanted: Wanted, target: Path, requires: tuple[str, ...]) -> None:
    """What this version needs and the old one did not."""
    if installation.packages is Packages.WHEELHOUSE:
        raise InstallFailed(
            "this version needs other packages than the old one, and this host has them from the coordinator's "
            "wheelhouse: run the installer's line there again, which upgrades it ('coordinator token create "
            "--show-install')"
        )
    needed = [requirement for requirement in requires if "extra ==" not in requirement]
    options = ["--quiet", "--no-input", "--disable-pip-version-check"]
    pip = [str(target / "bin" / "python"), "-m", "pip", "install", *options, *needed]
    done = _run(pip, wanted.deadline)
    if done.returncode:
        raise InstallFailed(
            f"its packages can't be installed: {_last(done)}; see the host's package index (pip config)"
        )


def _check(installation: Installation, wanted: Wanted, target: Path) -> None:
    """The new version says what it is, and that it could start here."""
    agent = str(target / "bin" / "agent")
    told = _run([agent, "--version"], wanted.deadline)
    if told.returncode or told.stdout.strip() != f"agent {wanted.version}":
        raise InstallFailed(f"{wanted.name} does not run: {_last(told)}; the old version runs on")
    done = _run([agent, "self-check", "--state-dir", str(installation.state_dir)], wanted.deadline)
    if done.returncode:
        raise InstallFailed(f"{wanted.name} can't start here: {_last(done)}; the old version runs on")


def _last(done: subprocess.CompletedProcess[str]) -> str:
    lines = [line.strip() for line in (done.stderr or done.stdout).splitlines() if line.strip()]
    return lines[-1].removeprefix("agent: ")[:_SAID] if lines else f"exit code {done.returncode}"


def _run(command: list[str], deadline: float) -> subprocess.CompletedProcess[str]:
    left = deadline - time.monotonic()
    # Ours must not reach the other version.
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "RALLYPOINT_FAIL"))}
    try:
        return subprocess.run(
            command, env=environ, cwd="/", capture_output=True, text=True, timeout=max(0.1, left), check=False
        )
    except subprocess.TimeoutExpired:
        raise InstallFailed("the time for the installation is over; the old version runs on") from None


def prune(installation: Installation, keep: set[str]) -> list[str]:
    """Remove environments but those to ``keep`` and those that a process still runs from; the names of the removed."""
    removed = []
    for left in (*installation.prefix.glob(".upgrade.*"), *installation.prefix.glob(".current.*")):
        shutil.rmtree(left, ignore_errors=True)
    for environment in sorted(installation.versions.iterdir()):
        if environment.name not in keep and not _in_use(environment):
            shutil.rmtree(environment, ignore_errors=True)
            removed.append(environment.name)
    return removed


def _in_use(environment: Path) -> bool:
    mark = f"{environment}/".encode()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if mark in path.read_bytes():
                return True
        except OSError:
            continue
    return False


def own_environment() -> Path:
    """The environment that this program runs from, by its own name."""
    return Path(sys.prefix).resolve()
