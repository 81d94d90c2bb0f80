"""A version is installed beside the one that runs, whole or not at all."""

from __future__ import annotations

import base64
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import pytest
from rallypoint.failpoints import VARIABLE

from agent.identity import Identity, Pems, save
from agent.installation import Installation, current_version, version_name
from agent.upgrade.install import COMPLETE_FILE, InstallFailed, Wanted, install, prune
from coordinator.access import ca
from tests.fakes import releases
from tests.fakes.small_disk import fill, mounted

IDENTITY = Identity(Path(), "h-1", "one", "c-1", ("127.0.0.1:1",), 0.0, 1.0)


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two releases that differ in a file."""
    folder = tmp_path_factory.mktemp("wheels")
    edits = {"old": {}, "new": {"agent/newer.py": '"""Only here."""\n'}}
    return {name: releases.build(releases.ROOT, folder / name, files) for name, files in edits.items()}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory, wheels: dict[str, Path]) -> Installation:
    """The old release, installed, to be copied."""
    place = tmp_path_factory.mktemp("installed")
    return releases.install(wheels["old"], place / "prefix", place / "state")


@pytest.fixture
def host(installed: Installation, tmp_path: Path) -> Installation:
    """A host with the old release."""
    return lay(installed, tmp_path)


def lay(installed: Installation, folder: Path) -> Installation:
    """Copy the installation; its scripts lead to where it was first, which no test runs."""
    shutil.copytree(installed.prefix, folder / "prefix", symlinks=True)
    state = folder / "state"
    state.mkdir()
    save(replace(IDENTITY, state_dir=state), Pems(b"", b"", b""))
    return replace(installed, prefix=folder / "prefix", state_dir=state)


def wanted(host: Installation, wheel: Path, seconds: float = 60.0, version: str = "") -> Wanted:
    own = host.current.resolve()
    told = version or wheel.name.split("-")[1]
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    return Wanted(version_name(told, digest), told, wheel, own, time.monotonic() + seconds)


def versions(host: Installation) -> list[str]:
    return sorted(path.name for path in host.versions.iterdir())


def test_the_new_version_runs_and_shares_all_else_with_the_old_one(host: Installation, wheels: dict[str, Path]) -> None:
    order = wanted(host, wheels["new"])
    install(host, order)
    new, old = host.versions / order.name, order.own
    told = subprocess.run([new / "bin/agent", "--version"], capture_output=True, text=True, check=True, cwd="/")
    assert told.stdout == f"agent {order.version}\n"
    where = "import agent.newer, sys; print(sys.prefix, agent.newer.__file__)"
    ran = subprocess.run([new / "bin/python", "-c", where], capture_output=True, text=True, check=True, cwd="/")
    assert all(part.startswith(str(new)) for part in ran.stdout.split())
    site = next(new.glob("lib/python3*/site-packages"))
    packages = site / "packages.pth"
    assert packages.samefile(old / packages.relative_to(new)), "a copy of what is there already"
    assert not (old / site.relative_to(new) / "agent/newer.py").exists()
    assert current_version(host.prefix) == old.name, "nothing is switched"


def test_scripts_of_packages_call_the_new_python_and_are_what_their_records_say(
    host: Installation, wheels: dict[str, Path]
) -> None:
    own = host.current.resolve()
    site = next(own.glob("lib/python3*/site-packages"))
    script = f"#!{own}/bin/python\nprint('hello')\n"
    (own / "bin/hello").write_text(script)
    (own / "bin/hello").chmod(0o755)
    (site / "hello-1.0.dist-info").mkdir()
    (site / "hello-1.0.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: hello\nVersion: 1.0\n")
    digest = base64.urlsafe_b64encode(hashlib.sha256(script.encode()).digest()).decode().rstrip("=")
    record = f"../../../bin/hello,sha256={digest},{len(script)}\nhello-1.0.dist-info/RECORD,,\n"
    (site / "hello-1.0.dist-info/RECORD").write_text(record)
    order = wanted(host, wheels["new"])
    new = host.versions / order.name
    install(host, order)
    assert (new / "bin/hello").read_text() == script.replace(str(own), str(new))
    assert subprocess.run([new / "bin/hello"], capture_output=True, text=True, check=True).stdout == "hello\n"
    assert (own / "bin/hello").read_text() == script
    assert (site / "hello-1.0.dist-info/RECORD").read_text() == record
    for distribution in metadata.distributions(path=[str(next(new.glob("lib/python3*/site-packages")))]):
        for file in distribution.files or ():
            if file.hash is not None:
                found = hashlib.new(file.hash.mode, Path(str(distribution.locate_file(file))).read_bytes()).digest()
                assert base64.urlsafe_b64encode(found).decode().rstrip("=") == file.hash.value, file


@pytest.mark.parametrize("place", ["before-unpack", "after-unpack", "after-complete"])
def test_killed_at_any_step_it_is_made_again_and_the_old_one_is_untouched(
    host: Installation, wheels: dict[str, Path], place: str
) -> None:
    order = wanted(host, wheels["new"])
    code = (
        "import os, sys, time; from pathlib import Path; from rallypoint import failpoints;"
        "from agent.installation import load; from dataclasses import replace;"
        "from agent.upgrade.install import Wanted, install; failpoints.arm('upgrade', os.environ);"
        "prefix, state, name, version, wheel, own = sys.argv[1:];"
        "host = replace(load(Path(prefix)), prefix=Path(prefix), state_dir=Path(state));"
        "install(host, Wanted(name, version, Path(wheel), Path(own), time.monotonic() + 60))"
    )
    words = [str(host.prefix), str(host.state_dir), order.name, order.version, str(order.wheel), str(order.own)]
    killed = subprocess.run(
        [sys.executable, "-c", code, *words], env={**os.environ, VARIABLE: f"upgrade.{place}"}, check=False
    )
    assert killed.returncode == -9
    assert current_version(host.prefix) == order.own.name
    new = host.versions / order.name
    assert (new / COMPLETE_FILE).exists() == (place == "after-complete")
    install(host, order)
    assert (new / COMPLETE_FILE).exists()
    assert (next(new.glob("lib/python3*/site-packages")) / "agent/newer.py").exists()


@pytest.mark.parametrize(
    ("edits", "said"),
    [
        ({"agent/daemon.py": "import nowhere\n"}, "can't start here: .*agent.daemon can't be loaded: .*'nowhere'"),
        ({"agent/cli.py": "1 +\n"}, "does not run: SyntaxError"),
        ({"agent/cli.py": "def run(): print('agent 9.9')\n"}, "does not run: agent 9.9"),
    ],
)
def test_what_could_not_start_is_not_installed(
    host: Installation, tmp_path: Path, edits: dict[str, str], said: str
) -> None:
    wheel = releases.build(releases.ROOT, tmp_path / "wheel", edits)
    with pytest.raises(InstallFailed, match=f"{said}.*; the old version runs on"):
        install(host, wanted(host, wheel))
    assert versions(host) == [host.current.resolve().name]


def test_a_host_whose_identity_is_gone_is_not_upgraded_into_silence(
    host: Installation, wheels: dict[str, Path]
) -> None:
    (host.state_dir / "identity.json").unlink()
    with pytest.raises(InstallFailed, match=r"can't start here: .*not joined"):
        install(host, wanted(host, wheels["new"]))


def test_what_is_no_such_wheel_is_refused(host: Installation, wheels: dict[str, Path], tmp_path: Path) -> None:
    no_wheel = tmp_path / "rallypoint-0.1.0-py3-none-any.whl"
    no_wheel.write_bytes(b"PK no")
    with pytest.raises(InstallFailed, match="is no wheel"):
        install(host, wanted(host, no_wheel))
    with pytest.raises(InstallFailed, match=r"the wheel is rallypoint .*, not rallypoint 7\.0"):
        install(host, wanted(host, wheels["new"], version="7.0"))
    outside = releases.build(releases.ROOT, tmp_path / "outside", {"../../outside.py": ""})
    with pytest.raises(InstallFailed, match="a file outside of itself"):
        install(host, wanted(host, outside))
    assert versions(host) == [host.current.resolve().name]


def test_other_packages_without_a_way_to_get_them(host: Installation, tmp_path: Path) -> None:
    wheel = releases.build(releases.ROOT, tmp_path / "wheel", more=["nowhere-to-be-had"])
    (host.state_dir / "ca.pem").write_bytes(ca.load_or_create(tmp_path / "ca", time.time()).certificate_pem)
    away = replace(host, install_url="https://127.0.0.1:1")
    with pytest.raises(InstallFailed, match="needs other packages than the old one, and no answer from 127"):
        install(away, wanted(host, wheel))
    assert versions(host) == [host.current.resolve().name]


def test_not_beside_the_installer(host: Installation, wheels: dict[str, Path]) -> None:
    handle = os.open(host.prefix, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    with pytest.raises(InstallFailed, match=r"an installer works in .*: wait for its end"):
        install(host, wanted(host, wheels["new"]))
    os.close(handle)


def test_no_time_is_left(host: Installation, wheels: dict[str, Path]) -> None:
    with pytest.raises(InstallFailed, match="the time for the installation is over"):
        install(host, wanted(host, wheels["new"], seconds=0.0))
    assert versions(host) == [host.current.resolve().name]


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A disk that the old release nearly fills."""
    (tmp_path / "disk").mkdir()
    with mounted(tmp_path / "disk", "24m") as disk:
        yield disk


def test_a_full_disk_leaves_the_old_version_alone(
    installed: Installation, wheels: dict[str, Path], small: Path
) -> None:
    host = lay(installed, small)
    fill(small / "ballast")
    with pytest.raises(InstallFailed, match="No space left on device; the old version runs on"):
        install(host, wanted(host, wheels["new"]))
    assert versions(host) == [host.current.resolve().name]
    (small / "ballast").unlink()
    install(host, wanted(host, wheels["new"]))
    assert len(versions(host)) == 2


def test_old_versions_go_but_none_that_something_runs_from(host: Installation) -> None:
    for name in ("a", "b", "c"):
        (host.versions / name / "bin").mkdir(parents=True)
        (host.versions / name / "bin/sleep").symlink_to("/bin/sleep")
    with subprocess.Popen([host.versions / "b" / "bin/sleep", "60"]) as busy:
        try:
            assert prune(host, {host.current.resolve().name, "c"}) == ["a"]
        finally:
            busy.kill()
    assert versions(host) == sorted([host.current.resolve().name, "b", "c"])
