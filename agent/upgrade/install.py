"""The environment of another version, made beside the one that runs.

What is installed already is taken over file by file, as links to the same content: where the new version needs what the
old one needs, nothing is downloaded, and it takes a moment and next to no room. An environment counts only once it is
marked complete; what a dead agent left half made is made again.
"""

from __future__ import annotations

import base64
import ctypes
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rallypoint.failpoints import reach

from agent.identity import CA_FILE
from agent.install import environment
from agent.install.coordinator import Coordinator
from agent.install.errors import CannotInstall
from agent.installation import Installation
from agent.upgrade.wheel import BadWheel, read_wheel, unpack

COMPLETE_FILE = "complete"
INCOMPLETE_FILE = "incomplete"
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
        with _alone(installation.prefix):
            # One that the installer made has no mark, and something may still run from it.
            if not target.exists() or (target / INCOMPLETE_FILE).exists() or not environment.is_whole(target):
                shutil.rmtree(target, ignore_errors=True)
                _make(installation, wanted, target)
            _check(installation, wanted, target)
            # Before the mark: after a power failure what counts as complete has to be so.
            _sync(target)
            (target / COMPLETE_FILE).touch()
            (target / INCOMPLETE_FILE).unlink(missing_ok=True)
            reach("upgrade.after-complete")
    except InstallFailed:
        shutil.rmtree(target, ignore_errors=True)
        raise
    except (OSError, shutil.Error) as error:
        shutil.rmtree(target, ignore_errors=True)
        raise InstallFailed(f"{target} can't be made: {_plainly(error)}; the old version runs on") from None
    except BadWheel as error:
        shutil.rmtree(target, ignore_errors=True)
        raise InstallFailed(f"{error}; the old version runs on") from None


@contextmanager
def _alone(prefix: Path) -> Iterator[None]:
    """Not beside the installer, which has the same lock."""
    handle = os.open(prefix, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise InstallFailed(f"an installer works in {prefix}: wait for its end, and order the upgrade again") from None
    finally:
        os.close(handle)


def _plainly(error: OSError | shutil.Error) -> str:
    # Copying a tree gathers its failures: the first one says it.
    if isinstance(error, shutil.Error) and error.args and isinstance(error.args[0], list):
        return str(error.args[0][0][-1])
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _make(installation: Installation, wanted: Wanted, target: Path) -> None:
    target.mkdir()
    (target / INCOMPLETE_FILE).touch()
    about = read_wheel(wanted.wheel)
    if (about.name, about.version) != (DISTRIBUTION, wanted.version):
        raise InstallFailed(f"the wheel is {about.name} {about.version}, not {DISTRIBUTION} {wanted.version}")
    if needed(about.requires) == needed(_own_requirements(wanted.own)):
        _copy(wanted.own, target)
        reach("upgrade.before-unpack")
        unpack(wanted.wheel, target, target / site_of(wanted.own).relative_to(wanted.own))
    else:
        _build(installation, wanted, target)
    reach("upgrade.after-unpack")


def needed(requirements: Iterable[str]) -> set[str]:
    """What is needed in any case: requirements without those of extras."""
    return {"".join(each.split()) for each in requirements if "extra ==" not in each}


def site_of(place: Path) -> Path:
    """The folder of an environment in which packages are. Raises InstallFailed."""
    found = sorted(place.glob("lib/python3.*/site-packages"))
    if not found:
        raise InstallFailed(f"{place} is no virtual environment; run the installer's line again")
    return found[0]


def _own_requirements(own: Path) -> tuple[str, ...]:
    import email.parser

    for path in site_of(own).glob(f"{DISTRIBUTION}-*.dist-info/METADATA"):
        told = email.parser.Parser().parsestr(path.read_text(encoding="utf-8"))
        return tuple(told.get_all("Requires-Dist") or ())
    return ()


def _copy(own: Path, target: Path) -> None:
    """The environment without our own packages; scripts in it call its own Python."""
    site, ours = site_of(own), _our_names(own)

    def left_out(folder: str, names: list[str]) -> list[str]:
        if Path(folder) == own:
            return [name for name in names if name in (COMPLETE_FILE, INCOMPLETE_FILE)]
        return [name for name in names if name in ours] if Path(folder) == site else []

    shutil.copytree(own, target, symlinks=True, copy_function=_link_or_copy, ignore=left_out, dirs_exist_ok=True)
    _point_to(target, str(own).encode())


def _point_to(target: Path, before: bytes) -> None:
    """Have the scripts that called the Python of the environment ``before`` call this one's; records follow them."""
    after, changed = str(target).encode(), {}
    for script in (target / "bin").iterdir():
        if script.is_symlink() or not script.is_file() or script.stat().st_size > _SCRIPT_BYTES:
            continue
        content = script.read_bytes()
        if before in content:
            content = content.replace(before, after)
            _replace(script, content)
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")
            changed[f"../../../bin/{script.name}"] = f"sha256={digest},{len(content)}"
    for record in site_of(target).glob("*.dist-info/RECORD"):
        lines = record.read_text(encoding="utf-8").splitlines()
        names = [line.split(",")[0] for line in lines]
        if not changed.keys().isdisjoint(names):
            new = [
                f"{name},{changed[name]}" if name in changed else line for name, line in zip(names, lines, strict=True)
            ]
            _replace(record, "\n".join([*new, ""]).encode())


def _replace(file: Path, content: bytes) -> None:
    # A new file: the old one is the other environment's too.
    mode = file.stat().st_mode
    file.unlink()
    file.write_bytes(content)
    file.chmod(mode)


def _sync(folder: Path) -> None:
    """Have the folder's disk take all that was written; other disks, on which tasks may write much, are left alone."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        ctypes.CDLL(None).syncfs(handle)
    finally:
        os.close(handle)


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


def _build(installation: Installation, wanted: Wanted, target: Path) -> None:
    """Make the environment as the installer does, with packages that the old one has not. Raises InstallFailed."""
    address = installation.install_url.removeprefix("https://")
    coordinator = Coordinator(address, installation.state_dir / CA_FILE)
    try:
        manifest = coordinator.manifest()
        folder = wanted.wheel.parent
        python, packages = installation.python, installation.packages
        environment.build(target, environment.Source(coordinator, manifest, wanted.wheel, python, packages, folder))
    except CannotInstall as error:
        raise InstallFailed(f"this version needs other packages than the old one, and {error}") from None


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
    for version in sorted(installation.versions.iterdir()):
        if version.name not in keep and not _in_use(version):
            shutil.rmtree(version, ignore_errors=True)
            removed.append(version.name)
    return removed


def _in_use(version: Path) -> bool:
    mark = f"{version}/".encode()
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
