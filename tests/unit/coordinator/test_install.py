"""What the coordinator gives to machines that are to become hosts: the line, the seed, wheels, and nothing else."""

from __future__ import annotations

import ast
import asyncio
import base64
import hashlib
import io
import shlex
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from aiohttp.test_utils import TestClient, TestServer

import coordinator.install.line as line_module
from coordinator.install import house
from coordinator.install.line import install_line, pin, seed
from coordinator.install.shelf import Shelf, read_index
from coordinator.install.site import InstallSite
from coordinator.install.wheel import own_wheel, packed
from tests.support import missing

CA = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
SEED = Path(line_module.__file__).with_name("seed.py")
# A line that was printed once holds for as long as this does. To change the seed, keep the old one and serve both.
SEED_SHA256 = "832e16660e5a0270892b538b7a97a6df7d196890ab1045ec996a9a7db902b04b"


def test_our_own_wheel_is_always_the_same_and_whole() -> None:
    name, content = own_wheel()
    assert own_wheel() == (name, content)
    assert name == "rallypoint-0.1.0-py3-none-any.whl"
    with zipfile.ZipFile(io.BytesIO(content)) as wheel:
        (record,) = (each for each in wheel.namelist() if each.endswith(".dist-info/RECORD"))
        stated = [row.rsplit(",", 2) for row in wheel.read(record).decode().splitlines()]
        assert sorted(row[0] for row in stated) == sorted(wheel.namelist())
        for file, sha256, size in stated[:-1]:
            digest = base64.urlsafe_b64encode(hashlib.sha256(wheel.read(file)).digest()).decode().rstrip("=")
            assert (sha256, int(size)) == (f"sha256={digest}", len(wheel.read(file)))
        names = set(wheel.namelist())
        assert b"[Service]" in wheel.read("agent/install/rallypoint-agent.service")
    assert {
        "agent/cli.py",
        "coordinator/cli/main.py",
        "rallypoint/v1/types_pb2.py",
        "coordinator/install/seed.py",
    } <= names
    assert [file for file in names if file.endswith((".pyc", "direct_url.json", "INSTALLER"))] == []


def test_the_seed_is_frozen_and_old_pythons_can_read_it() -> None:
    text = SEED.read_bytes()
    assert hashlib.sha256(text).hexdigest() == SEED_SHA256
    ast.parse(text, feature_version=(3, 7))
    assert seed(CA).count(CA) == 1
    assert pin(CA) == hashlib.sha256(seed(CA)).hexdigest()


def test_a_shell_has_nothing_to_say_about_the_line() -> None:
    if shutil.which("shellcheck") is None:
        missing("the program shellcheck", "install it with: apt-get install shellcheck")
    line = install_line("192.0.2.2:7445", CA)
    shell = shlex.split(line)[2]
    done = subprocess.run(["shellcheck", "-s", "sh", "-"], input=shell, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
    assert "\n" not in line
    assert shlex.split(line)[-2:] == ["192.0.2.2:7445", pin(CA)]


def test_a_python_that_is_too_old_is_told_what_to_do(tmp_path: Path) -> None:
    script = seed(CA).decode().replace("NEEDED = (3, 11)", "NEEDED = (9, 9)").replace("\nmain()\n", "\n")
    script += f"find_python({str(tmp_path)!r})\n"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env={"PATH": ""}, check=False)
    assert done.returncode == 1
    assert done.stderr == (
        f"rallypoint: this host has Python 3.{sys.version_info.minor}, and 3.11 or newer is needed: install it (apt"
        " install python3.11), or uv, or add --uv to the line, which gets one (nothing was installed)\n"
    )


def test_uv_is_asked_for_a_python_where_there_is_none(tmp_path: Path) -> None:
    """By a stand-in for uv, which knows of one after it was told to get it: no other is to be had without a network."""
    uv, there = tmp_path / "uv", tmp_path / "there"
    note = f'echo "$2 $UV_PYTHON_INSTALL_DIR" >>{tmp_path}/asked'
    does = f"install) : >{there} ;; find) [ -e {there} ] && echo {sys.executable} ;;"
    uv.write_text(f'#!/bin/sh\n{note}\ncase "$2" in {does} esac\n')
    uv.chmod(0o755)
    script = seed(CA).decode().replace("\nmain()\n", "\n") + f"print(find_python({str(tmp_path)!r}))\n"
    command = [sys.executable, "-c", script, "--uv"]
    done = subprocess.run(command, capture_output=True, text=True, env={"PATH": str(tmp_path)}, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, sys.executable)
    place = tmp_path / "python"
    assert (tmp_path / "asked").read_text() == f"find {place}\ninstall {place}\nfind {place}\n"
    uv.write_text("#!/bin/sh\necho 'cause: no network' >&2; exit 2\n")
    done = subprocess.run(command, capture_output=True, text=True, env={"PATH": str(tmp_path)}, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "which gets one; uv: cause: no network (nothing was installed)" in done.stderr


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A PATH without any Python."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("mktemp", "rm", "tr"):
        (folder / name).symlink_to(shutil.which(name) or "")
    return folder


def run_line(path: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """The line, with another program in it, which says what it runs by, and that it can be told something."""
    words = ["/bin/sh", *shlex.split(install_line("192.0.2.2:7445", CA))[1:]]
    words[words.index(line_module._PYTHON)] = "import sys; print(sys.executable, sys.argv[1], sys.argv[3:], input())"
    env = {"PATH": str(path), "TMPDIR": str(path.parent)}
    return subprocess.run([*words, *options], capture_output=True, text=True, env=env, input="in", check=False)


def test_without_any_python_the_line_says_how_to_get_one(bare: Path) -> None:
    done = run_line(bare)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "rallypoint: python3 is missing; install it first (apt install python3, dnf install python3), or install uv"
        " (https://docs.astral.sh/uv/), with which the line gets one by itself (nothing was installed)\n"
    )


def test_without_any_python_the_line_gets_one_with_uv(bare: Path, tmp_path: Path) -> None:
    """By a stand-in for uv, as above. The installer is told ``--uv``: what it installs from must outlast the line."""
    uv, asked = bare / "uv", tmp_path / "asked"
    there = "$UV_PYTHON_INSTALL_DIR/there"
    does = f"install) : >{there} ;; find) [ -e {there} ] && echo {sys.executable} ;;"
    uv.write_text(f'#!/bin/sh\necho "$2" >>{asked}\ncase "$2" in {does} esac\n')
    uv.chmod(0o755)
    done = run_line(bare, "--spot")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{sys.executable} 192.0.2.2:7445 ['--spot', '--uv'] in\n"
    assert asked.read_text().split() == ["install", "find"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["asked", "bin"], "nothing is left"
    uv.write_text("#!/bin/sh\necho 'error: x' >&2; echo 'cause: no network' >&2; exit 2\n")
    done = run_line(bare)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert done.stderr.startswith(
        "rallypoint: python3 is missing, and uv can get none (error: x cause: no network ): install one"
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["asked", "bin"]


def test_the_port_gives_what_the_manifest_names_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "ca").mkdir()
    (tmp_path / "ca" / "ca.key.pem").write_text("secret")
    site = InstallSite(Shelf(tmp_path), CA, "c-1", join=lambda: ("192.0.2.2:7443",))

    async def ask() -> None:
        async with TestClient(TestServer(site.app())) as client:
            manifest = await (await client.get("/manifest.json")).json()
            assert (manifest["cluster"], manifest["join"], manifest["wheelhouse"]) == ("c-1", ["192.0.2.2:7443"], {})
            for wheel in (manifest["wheel"], manifest["pip"]):
                content = await (await client.get(f"/wheels/{wheel['sha256']}/{wheel['name']}")).read()
                assert (hashlib.sha256(content).hexdigest(), len(content)) == (wheel["sha256"], wheel["size"])
            assert await (await client.get("/install")).read() == seed(CA)
            own = manifest["wheel"]["sha256"]
            beyond = (f"{own}/x.whl", f"{own}/..%2f..%2fca%2fca.key.pem", "../ca/ca.key.pem", "")
            for path in (f"/wheels/{each}" for each in beyond):
                answer = await client.get(path)
                assert (answer.status, "secret" in await answer.text()) == (404, False)
            assert (await client.get("/standing")).status == 403
            assert (await client.post("/manifest.json")).status == 405

    asyncio.run(ask())


def test_a_wheelhouse_of_what_is_installed_is_one_that_pip_can_download_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = house.here()
    made = house.build(tmp_path / "a", ours, installed=True)
    assert {"grpcio", "click", "cryptography"} <= {wheel.name.partition("-")[0] for wheel in made}
    for name, value in {"PIP_CONFIG_FILE": "/dev/null", "PIP_NO_INDEX": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "a" / "wheelhouse"))
    assert {w.name for w in house.build(tmp_path / "b", ours, installed=False)} == {wheel.name for wheel in made}
    assert list(read_index(tmp_path / "b" / "wheelhouse")) == [ours.name]
    with pytest.raises(house.CannotBuild, match=r"pip can't download for cp399-x86_64: .*; check the package index"):
        house.build(tmp_path / "b", house.Kind("3.99", "x86_64"), installed=False)
    with pytest.raises(house.CannotBuild, match="leave --installed out there"):
        house.build(tmp_path / "b", house.Kind("3.99", "x86_64"), installed=True)
    with pytest.raises(house.CannotBuild, match=r"write it like 3\.11"):
        house.Kind("three", "x86_64")


def test_what_another_python_needs_besides_is_found_by_its_own_markers(tmp_path: Path) -> None:
    """pip asks its own Python's version for those, whichever it is told."""
    name, content = packed("aiohttp", 0)
    (tmp_path / name).write_bytes(content)
    assert "async-timeout" in " ".join(house._missing(tmp_path, house.Kind("3.10", "x86_64")))
    assert "async-timeout" not in " ".join(house._missing(tmp_path, house.Kind("3.14", "x86_64")))
