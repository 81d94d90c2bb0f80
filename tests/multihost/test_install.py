"""The printed line, on machines with nothing but Debian's Python: as root and as a user, offline and by an index; and
all that can go wrong, each of which ends in one line and leaves nothing behind."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from coordinator.access.ca import Authority, load_or_create
from coordinator.install.line import seed
from tests.multihost.bare import Bare, Done, bare_host
from tests.multihost.booted import booted_host
from tests.multihost.cluster import Cluster
from tests.multihost.net import HUB_ADDRESS, Lan, Site
from tests.support import eventually, missing

pytestmark = [pytest.mark.multihost, pytest.mark.timeout(240)]

_DEPLOY = Path(__file__).parents[2] / "deploy"
_AGENT, _COORDINATOR = "rallypoint-agent.service", "rallypoint-coordinator.service"
_USERS = _DEPLOY / "rallypoint-agent-user.service"
_FOR_ANN = """set -e
cd
mkdir -p .local/share/rallypoint .config/systemd/user
ln -s /opt/rallypoint/versions/* .local/share/rallypoint/current
cat >.config/systemd/user/rallypoint-agent-user.service
printf %s "$1" | .local/share/rallypoint/current/bin/agent join "$0" --token-file - --name annes
systemctl --user daemon-reload
systemctl --user start rallypoint-agent-user
"""
_SOON = f"""mkdir /etc/systemd/system/{_AGENT}.d
printf '[Service]\\nWatchdogSec=4\\n' >/etc/systemd/system/{_AGENT}.d/soon.conf
systemctl daemon-reload
"""
_IN_THE_UNIT = """id -un
sed -n 's/nodes-.*/nodes/; $p' /proc/self/cgroup
touch /usr/here 2>/dev/null || echo no /usr
grep -q '^NoNewPrivs:.*1' /proc/self/status && echo no new rights
echo >here && echo >/dev/null && echo wrote
echo settled
until [ -e /tmp/go ]; do sleep 0.1; done
exit 7
"""

# What was promised; it takes less than seven seconds on a machine that has nothing else to do.
PROMISED_SECONDS = 60.0


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Places for machines."""
    with Site.open({"i": Lan("10.7.9", 3)}, tmp_path_factory.mktemp("place")) as site:
        yield site


@pytest.fixture(scope="module")
def home(place: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A coordinator with a wheelhouse of what is installed here."""
    with Cluster(tmp_path_factory.mktemp("home"), HUB_ADDRESS, place.hub) as cluster:
        cluster.run("wheelhouse", "build", "--installed", "--data-dir", str(cluster.data_dir))
        yield cluster


@pytest.fixture
def bare(place: Site, tmp_path: Path) -> Iterator[Bare]:
    """A machine that nobody has touched."""
    with bare_host(place.hosts["i1"], tmp_path / "bare") as machine:
        yield machine


@pytest.fixture(scope="module")
def booted(place: Site, installed: Installed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bare]:
    """A machine whose first process is systemd, the real one."""
    with booted_host(place.hosts["i3"], tmp_path_factory.mktemp("booted") / "root") as machine:
        copy_environment(installed.machine, machine)
        yield machine


@dataclass(slots=True)
class Installed:
    """What came of the line on a machine that was as ``before``: how the installer ended, a job that had run after
    ``seconds``, and what processes that ran meanwhile were told: their words and environment.
    """

    machine: Bare
    before: list[str]
    token: str
    done: Done = field(default_factory=lambda: Done(-1, "", ""))
    job: str = ""
    seconds: float = 0.0
    told: set[str] = field(default_factory=set)


@pytest.fixture(scope="module")
def installed(place: Site, home: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installed]:
    """A machine on which root has pasted the line, and the token."""
    with bare_host(place.hosts["i2"], tmp_path_factory.mktemp("installed") / "root") as machine:
        line, token = line_and_token(home)
        found = Installed(machine, machine.listing(), token)
        began = time.monotonic()
        with listening(found.told):
            found.done = machine.run("sh", "-c", f"{line} --name rooted --price 0.5", stdin=token)
        assert found.done.code == 0, found.done
        found.job = home.submit("--host", "rooted", "--", "sh", "-c", "echo ran as $(id -un)")
        assert home.wait(found.job) == 0
        found.seconds = time.monotonic() - began
        yield found


@contextmanager
def listening(told: set[str]) -> Iterator[None]:
    """Collect, five times a second, what everybody on this machine could read of its processes."""
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(0.2):
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                with suppress(OSError):
                    words = path.read_bytes() + b" " + path.with_name("environ").read_bytes()
                    told.add(words.decode(errors="replace"))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def line_and_token(home: Cluster, *options: str) -> tuple[str, str]:
    line, token = home.run("token", "create", "--show-install", *options).text.splitlines()
    return line, token


def refused(bare: Bare, line: str, token: str = "", **how: object) -> str:
    """Paste a line that must fail: the one line that it says. Nothing is left behind."""
    before = bare.listing()
    done = bare.run("sh", "-c", line, stdin=token, **how)  # type: ignore[arg-type]
    assert done.code != 0, done
    assert bare.listing() == before
    assert bare.processes() == []
    assert done.err.count("\n") == 1, done.err
    assert done.err.startswith("rallypoint: ")
    return done.err


def copy_environment(source: Bare, target: Bare) -> None:
    """Have the environment without making it: what comes after is what the test is about."""
    take = source.command("tar", "-C", "/opt", "-c", "rallypoint/versions")
    with subprocess.Popen(take, stdout=subprocess.PIPE) as taken:
        subprocess.run(target.command("tar", "-C", "/opt", "-x"), stdin=taken.stdout, check=True)
    # What only a refused request loads may not have been compiled yet, which is no change of what was there.
    load = "from google.rpc import error_details_pb2, status_pb2"
    assert target.run("sh", "-c", f"/opt/rallypoint/versions/*/bin/python -c '{load}'").code == 0


# --- it works ---------------------------------------------------------------------------------------------------------


def test_root_pastes_the_line_offline_and_a_job_runs(installed: Installed, home: Cluster) -> None:
    assert installed.seconds < PROMISED_SECONDS
    assert "packages from the wheelhouse" in installed.done.out
    assert re.search(r"host rooted \(h-\d+\) is online", installed.done.out)
    assert installed.done.err == ""
    host = home.hosts()["rooted"]
    assert (host["state"], host["facts"]["price_per_hour"]) == ("online", 0.5)
    assert home.logs(installed.job, 0) == b"ran as rallypoint-task\n"


def test_what_root_installed_is_closed_to_others_and_says_what_it_is(installed: Installed) -> None:
    machine = installed.machine
    listed = {line.split()[0]: line.split()[1:3] for line in machine.listing() if line.startswith("/")}
    assert listed["/var/lib/rallypoint/agent"] == ["root:root", "711"]
    assert listed["/var/lib/rallypoint/agent/credentials.pem"] == ["root:root", "600"]
    assert [name for name in listed if name.startswith(("/tmp/", "/var/tmp/"))] == []
    known = json.loads(machine.run("cat", "/opt/rallypoint/install.json").out)
    assert (known["mode"], known["supervisor"], known["packages"]) == ("root", "background", "wheelhouse")
    assert known["created"]["users"] == ["rallypoint-task"]
    assert machine.run("agent", "--version", user="ann").code == 0
    assert machine.run("cat", "/var/lib/rallypoint/agent/identity.json", user="ann").code != 0


def test_no_process_was_ever_told_the_token(installed: Installed) -> None:
    """The line has no secret in it; nothing that ran meanwhile was given one in its words or its environment."""
    assert any("pip\0install" in told for told in installed.told)
    assert [told for told in installed.told if installed.token.split(".")[4] in told] == []


def test_pasted_again_it_repairs_and_the_host_stays_who_it_is(installed: Installed, home: Cluster) -> None:
    machine = installed.machine
    before = home.hosts()["rooted"]["id"]
    machine.run("sh", "-c", "rm -r /opt/rallypoint/current/lib/python3*/site-packages/grpc")
    assert machine.run("/opt/rallypoint/current/bin/python", "-c", "import grpc").code != 0
    line, _ = line_and_token(home)
    done = machine.run("sh", "-c", f"{line} --price 0.25")
    assert done.code == 0, done
    assert "stated anew of host rooted: price" in done.out
    eventually(lambda: home.hosts()["rooted"]["facts"]["price_per_hour"] == 0.25, what="the new price counts")
    assert [name for name in home.hosts() if name.startswith("rooted")] == ["rooted"]
    assert home.hosts()["rooted"]["id"] == before
    assert machine.run("/opt/rallypoint/current/bin/python", "-c", "import grpc").code == 0
    assert machine.run("ls", "-A", "/opt/rallypoint/versions").out.count("\n") == 1


def test_a_user_installs_from_the_hosts_own_index(bare: Bare, home: Cluster, place: Site) -> None:
    before = bare.listing()
    line, token = line_and_token(home)
    with index(home.data_dir / "wheelhouse", place) as url:
        env = {"PIP_INDEX_URL": url, "PIP_TRUSTED_HOST": HUB_ADDRESS}
        done = bare.run("sh", "-c", f"{line} --index --name annes", user="ann", stdin=token, env=env)
    assert done.code == 0, done
    assert "packages from the index" in done.out
    job = home.submit("--host", "annes", "--", "sh", "-c", "echo ran as $(id -un)")
    assert (home.wait(job), home.logs(job, 0)) == (0, b"ran as ann\n")
    new = [line for line in bare.listing() if line not in before]
    assert [line for line in new if not line.startswith("/home/ann/.local ") and " ann:ann " not in line] == []
    assert all(line.startswith("/home/ann/.local") for line in new)
    known = json.loads(bare.run("cat", "/home/ann/.local/share/rallypoint/install.json").out)
    assert (known["mode"], known["user"], known["created"]["users"]) == ("user", "", [])
    assert "/home/ann/.local" in known["created"]["parents"]
    gone = bare.run("/home/ann/.local/bin/agent", "uninstall", "--yes", user="ann")
    assert gone.code == 0, gone
    assert (bare.listing(), bare.processes()) == (before, [])
    assert "annes" not in home.hosts()


@contextmanager
def index(house: Path, place: Site) -> Iterator[str]:
    """A package index with the wheels of the wheelhouse, as a host's pip may be set up for."""
    program = Path(__file__).with_name("package_index.py")
    command = [*place.hub, sys.executable, str(program), HUB_ADDRESS, str(house)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"http://{HUB_ADDRESS}:{process.stdout.readline().strip()}/simple"
        finally:
            process.kill()


# --- it does not, and nothing is left ---------------------------------------------------------------------------------


def test_another_pin_runs_nothing(bare: Bare, home: Cluster) -> None:
    line, token = line_and_token(home)
    assert "is not the coordinator that this line was made for; nothing was run" in refused(
        bare, line[:-4] + "0000", token
    )


def test_no_coordinator_no_network_no_python(bare: Bare, home: Cluster) -> None:
    line, token = line_and_token(home)
    address = home.endpoints["install"]
    closed = line.replace(address, f"{HUB_ADDRESS}:9")
    said = refused(bare, closed, token)
    assert f"no answer from {HUB_ADDRESS}:9" in said
    assert "Connection refused" in said
    assert "firewall: [Errno 101] Network is unreachable" in refused(bare, f"unshare --net {line}", token)
    bare.run("sh", "-c", "mkdir /opt/only && ln -s /usr/bin/sh /opt/only/sh")
    assert "python3 is missing; install it first" in refused(bare, line, token, env={"PATH": "/opt/only"})


@pytest.mark.parametrize(
    ("change", "said"), [(b"", "not the coordinator that the line is for"), (b"#", "was made for")]
)
def test_who_sits_in_between_is_not_believed(
    bare: Bare, home: Cluster, place: Site, tmp_path: Path, change: bytes, said: str
) -> None:
    """One passes the true seed on and answers the rest; one changes the seed. Both have certificates of their own."""
    theirs: Authority = load_or_create(tmp_path / "theirs", time.time())
    pair = theirs.issue_server(["coordinator.rallypoint.internal"], time.time())
    (tmp_path / "pair.pem").write_bytes(pair.key_pem + pair.chain_pem)
    (tmp_path / "seed").write_bytes(seed((home.data_dir / "ca" / "ca.pem").read_bytes()) + change)
    program = Path(__file__).with_name("impostor.py")
    command = [
        *place.hub,
        sys.executable,
        str(program),
        HUB_ADDRESS,
        str(tmp_path / "pair.pem"),
        str(tmp_path / "seed"),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            line, token = line_and_token(home)
            there = line.replace(home.endpoints["install"], f"{HUB_ADDRESS}:{process.stdout.readline().strip()}")
            assert said in refused(bare, there, token)
        finally:
            process.kill()


def test_a_tampered_wheel_is_refused(bare: Bare, home: Cluster) -> None:
    """Also one that was changed on the coordinator's own disk after it was made."""
    line, token = line_and_token(home)
    for folder, said in (
        ("wheels/*/rallypoint", "is not the wheel that"),
        ("wheelhouse/click", "is not what the coord"),
    ):
        (wheel,) = home.data_dir.glob(f"{folder}-*.whl")
        good = wheel.read_bytes()
        wheel.write_bytes(good[:-1] + b"?")
        try:
            assert said in refused(bare, line, token)
        finally:
            wheel.write_bytes(good)


def test_a_token_that_is_no_secret_or_none_at_all(bare: Bare, home: Cluster) -> None:
    line, token = line_and_token(home)
    assert "no join token was given" in refused(bare, line)
    assert "the join token is damaged" in refused(bare, line, token[:-3])
    bare.run("sh", "-c", "cat >/root/token; chmod 644 /root/token", stdin=token)
    assert "may be read by other users: run 'chmod 600 /root/token'" in refused(
        bare, f"{line} --token-file /root/token"
    )


def test_disks_that_take_nothing(bare: Bare, home: Cluster) -> None:
    line, token = line_and_token(home)
    bare.run("mount", "-t", "tmpfs", "-o", "size=2m,mode=755", "none", "/opt")
    said = refused(bare, line, token)
    assert "No space left on device" in said
    assert "make room on that disk" in said
    bare.run("mount", "-o", "remount,ro", "/opt")
    said = refused(bare, line, token)
    assert "/opt/rallypoint: read-only file system; mount it for writing, or give another place with --prefix" in said


def test_interrupted_it_leaves_nothing(bare: Bare, home: Cluster) -> None:
    """With SIGTERM, while packages are being installed."""
    line, token = line_and_token(home)
    before = bare.listing()
    command = bare.command("sh", "-c", line)
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        process.stdin.write(token)
        process.stdin.close()
        process.stdin = None
        eventually(lambda: "pip" in " ".join(bare.processes()), what="pip at work")
        (installer,) = (pid for pid, words in bare.running().items() if "runpy.run_module" in words)
        bare.run("kill", installer)
        _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (1, "rallypoint: interrupted; everything is as it was before\n")
    assert bare.listing() == before
    eventually(lambda: bare.processes() == [], what="the end of all processes")


def test_systemd_keeps_the_coordinator(booted: Bare) -> None:
    """The unit as it is delivered, and the backup beside it."""
    booted.run("sh", "-c", "cd /opt/rallypoint && ln -s versions/* current")
    for name in ("coordinator", "backup"):
        text = (_DEPLOY / f"rallypoint-{name}.service").read_text()
        booted.run("sh", "-c", f"cat >/etc/systemd/system/rallypoint-{name}.service", stdin=text)
    assert booted.run("useradd", "--system", "--user-group", "rallypoint").code == 0
    assert booted.run("systemctl", "start", "rallypoint-coordinator").code == 0
    first = serving(booted, "", _COORDINATOR)
    booted.run("kill", "-KILL", first)
    serving(booted, first, _COORDINATOR)
    state = "/var/lib/rallypoint/coordinator"
    shown = booted.run("/opt/rallypoint/current/bin/coordinator", "--context", f"{state}/admin.toml", "hosts")
    assert (shown.code, shown.err) == (0, "")
    assert booted.run("stat", "-c", "%U %a", state).out == "rallypoint 700\n"
    assert booted.run("systemctl", "start", "rallypoint-backup").code == 0
    assert booted.run("sh", "-c", "tar -tf /var/lib/rallypoint/backups/*.tar").code == 0
    assert booted.run("systemctl", "stop", _COORDINATOR).code == 0
    assert unit(booted, "Result", "ExecMainStatus", name=_COORDINATOR) == ["success", "0"]
    booted.run("rm", "/opt/rallypoint/current")


def test_what_holds_tasks_is_asked_of_systemd_and_why_not_is_told(booted: Bare) -> None:
    """Memory and processors are held on a kernel that has them in version 2: tests/bench/test_scope.py."""
    ask = "cd /opt/rallypoint/versions/*/bin && ./python -m agent.spawner --held"
    found = json.loads(booted.run("sh", "-c", ask).out)
    assert (found["trees"], "scope" in found["reason"]) == ("cgroup v2", False)
    found = json.loads(booted.run("sh", "-c", ask, user="ann").out)
    assert "no scope of systemd's: it would end when the user logs out ('loginctl enable-linger'" in found["reason"]
    booted.run("mount", "--bind", "/dev/null", "/usr/bin/systemd-run")
    found = json.loads(booted.run("sh", "-c", ask).out)
    assert "no scope of systemd's: systemd-run: Permission denied" in found["reason"]
    booted.run("umount", "/usr/bin/systemd-run")


def test_a_users_own_systemd_keeps_their_agent(booted: Bare, home: Cluster) -> None:
    """The unit as it is delivered; nobody is logged in."""
    ann = {"XDG_RUNTIME_DIR": "/run/user/4711"}
    _, token = line_and_token(home)
    assert booted.run("loginctl", "enable-linger", "ann").code == 0
    assert booted.run("systemctl", "start", "user@4711").code == 0
    made = booted.run(
        "sh", "-c", _FOR_ANN, home.endpoints["join"], token, user="ann", env=ann, stdin=_USERS.read_text()
    )
    assert made.code == 0, made
    job = home.submit("--host", "annes", "--", "sh", "-c", _IN_THE_UNIT)
    home.await_output(job, 0, b"settled")
    ask = ("systemctl", "--user", "show", "--value", "--property=MainPID", "rallypoint-agent-user")
    first = booted.run(*ask, user="ann", env=ann).out
    booted.run("kill", "-KILL", first.strip())
    eventually(lambda: booted.run(*ask, user="ann", env=ann).out not in (first, "0\n"), what="the next agent")
    eventually(lambda: home.hosts()["annes"]["state"] == "online", what="contact")
    booted.run("touch", "/tmp/go")
    assert home.wait(job) == 7
    assert [node["attempt"] for node in home.nodes(job)] == [1]
    name, held = home.logs(job, 0).decode().splitlines()[:2]
    assert (name, held) == ("ann", "0::/user.slice/user-4711.slice/user@4711.service/app.slice/rallypoint-nodes")
    booted.run("sh", "-c", "rm /tmp/go; loginctl disable-linger ann; systemctl stop user@4711")


def test_systemd_keeps_the_agent_and_what_it_runs_and_nothing_of_it_stays(booted: Bare, home: Cluster) -> None:
    before, ran = booted.listing(), set(booted.processes())
    line, token = line_and_token(home)
    with waiting_for_its_token(booted, *line_and_token(home)) as late:
        done = booted.run("sh", "-c", f"{line} --name unit", stdin=token)
        assert done.code == 0, done
        booted.run("touch", "/root/go")
        _, said = late.communicate(timeout=60)
    # Who came too late has changed nothing, and undone nothing of what the other one did.
    assert "rallypoint: another installer was at work in /opt/rallypoint meanwhile" in said
    known = json.loads(booted.run("cat", "/opt/rallypoint/install.json").out)
    assert (known["supervisor"], known["unit"]) == ("systemd", "rallypoint-agent.service")
    assert home.hosts()["unit"]["state"] == "online"
    assert unit(booted, "Type", "UnitFileState") == ["notify", "enabled"]
    # What runs goes on, however the agent ends.
    job = home.submit("--host", "unit", "--", "sh", "-c", _IN_THE_UNIT)
    home.await_output(job, 0, b"settled")
    first = serving(booted, "")
    booted.run("kill", "-KILL", first)
    second = serving(booted, first)
    assert unit(booted, "NRestarts") == ["1"]
    assert booted.run("agent", "restart").code == 0
    third = serving(booted, second)
    assert booted.run("agent", "stop").code == 0
    stopped = booted.run("agent", "status")
    assert stopped.out == "the agent does not run (inactive (dead), last exit code 0)\n"
    assert booted.run("agent", "start").code == 0
    fourth = serving(booted, third)
    assert "session.open" in booted.run("agent", "logs").out
    # One that hangs is found out; the unit's own half minute is long for a test.
    booted.run("sh", "-c", _SOON)
    booted.run("systemctl", "restart", "rallypoint-agent")
    fifth = serving(booted, fourth)
    booted.run("kill", "-STOP", fifth)
    serving(booted, fifth)
    booted.run("touch", "/tmp/go")
    assert home.wait(job) == 7
    assert [node["attempt"] for node in home.nodes(job)] == [1]
    said = home.logs(job, 0).decode().splitlines()
    held = "0::/system.slice/rallypoint-nodes"
    assert said == ["rallypoint-task", held, "no /usr", "no new rights", "wrote", "settled"]
    booted.run("rm", "-r", "/etc/systemd/system/rallypoint-agent.service.d", "/tmp/go")
    gone = booted.run("agent", "uninstall", "--yes")
    assert gone.code == 0, gone
    assert booted.listing() == [line for line in before if not line.startswith("/opt/rallypoint")]
    assert set(booted.processes()) == ran
    assert unit(booted, "LoadState") == ["not-found"]
    assert booted.run("systemctl", "list-units", "--all", "--plain", "--no-legend", "rallypoint*").out == ""
    assert "unit" not in home.hosts()


def unit(machine: Bare, *properties: str, name: str = _AGENT) -> list[str]:
    """What systemd knows of a unit."""
    ask = [f"--property={name}" for name in properties]
    told = dict(line.split("=", 1) for line in machine.run("systemctl", "show", *ask, name).out.splitlines())
    return [told[name] for name in properties]


def serving(machine: Bare, before: str, name: str = _AGENT) -> str:
    """Wait until a process that is not ``before`` has said that it is ready; its id."""

    def found() -> str:
        state, pid = unit(machine, "ActiveState", "MainPID", name=name)
        return pid if state == "active" and pid not in (before, "0") else ""

    return eventually(found, 60.0, f"{name} to be ready")


@contextmanager
def waiting_for_its_token(bare: Bare, line: str, token: str) -> Iterator[subprocess.Popen[str]]:
    """An installer that has looked around, and waits for its token until there is ``/root/go``."""
    give = "exec 3>/root/pipe; touch /root/there; until [ -e /root/go ]; do sleep 0.05; done; cat /root/second >&3"
    bare.run("sh", "-c", "mkfifo -m 600 /root/pipe; cat >/root/second", stdin=token)
    with (
        subprocess.Popen(bare.command("sh", "-c", give)),
        subprocess.Popen(
            bare.command("sh", "-c", f"{line} --token-file /root/pipe"), stderr=subprocess.PIPE, text=True
        ) as late,
    ):
        eventually(lambda: bare.run("test", "-e", "/root/there").code == 0, what="the prompt for the token")
        yield late
    bare.run("rm", "/root/pipe", "/root/there", "/root/go", "/root/second")


def test_a_clock_that_is_years_off(bare: Bare, home: Cluster) -> None:
    if shutil.which("faketime") is None:
        missing("the program faketime", "install it with: apt-get install faketime")
    line, token = line_and_token(home)
    said = refused(bare, f"faketime '2001-02-03 04:05:06' {line}", token)
    assert "this host's clock says 2001-02-03T04:05:" in said
    assert "set it right" in said


def test_a_token_that_the_coordinator_refuses_undoes_all_that_was_done(
    bare: Bare, home: Cluster, installed: Installed
) -> None:
    """The last thing that can fail: the user, the directories, the link and the switch have been made by then."""
    copy_environment(installed.machine, bare)
    line, token = line_and_token(home)
    home.run("token", "revoke", token.split(".")[3])
    assert "was revoked: make a new one with 'coordinator token create'" in refused(bare, line, token)
    assert [name for name in home.hosts() if name.startswith("bare")] == []


def test_uninstalled_the_machine_is_what_it_was(installed: Installed, home: Cluster) -> None:
    """The last test of that machine."""
    done = installed.machine.run("agent", "uninstall", "--yes")
    assert done.code == 0, done
    assert installed.machine.listing() == installed.before
    assert installed.machine.processes() == []
    assert "rooted" not in home.hosts()
