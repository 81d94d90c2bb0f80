"""Nodes as other users than the agent: real processes of real users, and what they can and can't get at."""

from __future__ import annotations

import asyncio
import json
import os
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from agent.config import load
from agent.devices import closed_devices
from agent.ownership import give
from agent.statedir import make_state_dir
from agent.users import (
    Account,
    HostUsers,
    UserRefused,
    Users,
    UserUnusable,
    check_passable,
    only_own,
    users_of,
)
from agent.whom import examine_users
from tests.fakes.agent_coordinator import FakeCoordinator, any_node, coordinator, enrol, pb
from tests.fakes.agent_process import AgentProcess, agent, lives
from tests.fakes.spawner_client import spawner
from tests.other_user import OTHER, TASK, open_folder
from tests.support import missing

pytestmark = pytest.mark.timeout(90)

THIRD = 54_323


@pytest.fixture
def root() -> None:
    if os.geteuid() != 0:
        missing("the right to change users", "run the tests as root")


@pytest.fixture
def folder(root: None) -> Iterator[Path]:
    """A folder that everybody can pass: pytest's own ones are closed."""
    with open_folder("users-") as made:
        yield made


@asynccontextmanager
async def host(folder: Path, *options: str) -> AsyncIterator[tuple[FakeCoordinator, AgentProcess]]:
    users = ("--task-user", str(TASK), "--allow-users", str(OTHER), *options)
    async with coordinator(folder / "coordinator") as fake:
        enrol(fake.authority, folder / "agent", "h-1", fake.address)
        async with agent(folder / "agent", *users) as process:
            yield fake, process


RIGHTS = "grep -E 'CapPrm|NoNewPrivs' /proc/self/status | tr '\\n' ' '"
WHO = (
    f"id -u; id -g; echo $HOME $USER $LOGNAME; pwd; {RIGHTS}; echo; umask; echo again >> /dev/stdout; echo kept > file"
)
SNOOP = 'for f; do [ ! -r "$f" ] || echo "reads $f"; [ ! -w "$f" ] || echo "writes $f"; done'
# Nobody's secrets; connecting to the launcher's socket takes a node's ticket. The first is this test's own.
GENEROUS = {"agent.err", "rallypoint-mpi-launch", "mpi.sock"}


def test_a_node_runs_as_the_hosts_task_user_and_finds_all_but_its_own_closed(folder: Path) -> None:
    async def scenario() -> None:
        async with host(folder) as (fake, process):
            state = process.state_dir
            fake.want(any_node("j.0.1", "sh", "-c", WHO))
            assert (await fake.ended("j.0.1")).exit_code == 0
            uid, gid, login, place, rights, umask, again = fake.logs["j.0.1"].decode().splitlines()
            work = str(state / "work" / "j.0.1")
            assert (uid, gid, login) == (str(TASK), str(TASK), f"{work} {TASK} {TASK}")
            assert (place, again) == (work, "again")
            assert rights.split() == ["CapPrm:", "0" * 16, "NoNewPrivs:", "1"]
            assert umask == "0022"
            about = (state / "work" / "j.0.1").stat()
            assert (about.st_uid, stat.S_IMODE(about.st_mode)) == (TASK, 0o700)
            others = [str(path) for path in state.rglob("*") if Path(work) not in (path, *path.parents)]
            assert {"credentials.pem", "identity.json", "spawner.journal", "j.0.1.log"} <= {
                Path(f).name for f in others
            }
            fake.want(any_node("k.0.1", "sh", "-c", SNOOP, "sh", str(state), *others, user=str(OTHER)))
            await fake.ended("k.0.1")
            found = [Path(line.split(" ", 1)[1]).name for line in fake.logs.get("k.0.1", b"").decode().splitlines()]
            assert set(found) <= GENEROUS
            node = any_node("l.0.1", "sleep", "1000", user=str(OTHER))
            fake.want(node)
            await fake.running("l.0.1")
            pid = pid_of(state, "l.0.1")
            assert Path(f"/proc/{pid}").stat().st_uid == OTHER
            node.phase = pb.DESIRED_PHASE_STOPPED
            fake.want(node)
            await fake.ended("l.0.1")
            assert not lives(pid)

    asyncio.run(scenario())


def pid_of(state: Path, key: str) -> int:
    from agent.spawner.journal import read_journal

    return int(str(read_journal(str(state / "spawner.journal"))[key]["pid"]))


def test_another_user_only_where_the_host_allows_it(folder: Path) -> None:
    async def scenario() -> None:
        async with host(folder) as (fake, process):
            fake.want(any_node("j.0.1", "id", "-u", user=str(OTHER)), any_node("k.0.1", "id", user=str(THIRD)))
            fake.want(any_node("l.0.1", "id", user="root"), any_node("m.0.1", "id", user="no-such-user"))
            assert (await fake.ended("j.0.1")).exit_code == 0
            assert fake.logs["j.0.1"] == f"{OTHER}\n".encode()
            for key, words in (
                ("k.0.1", f"nodes may not run as '{THIRD}' here"),
                ("l.0.1", "nodes may not run as 'root' here: name it in allow_users of the host's agent.toml"),
                ("m.0.1", "user 'no-such-user' does not exist on this host"),
            ):
                ended = await fake.ended(key)
                assert ended.cause == pb.END_CAUSE_START_FAILED
                assert ended.reason.startswith(words)
            told = fake.opened[-1].hardware.users
            assert (told.default_user, list(told.allowed)) == (str(TASK), [str(TASK), str(OTHER)])
            assert not list((process.state_dir / "work").glob("[klm]*"))

    asyncio.run(scenario())


def test_a_state_directory_that_the_task_user_cannot_pass_is_refused(folder: Path) -> None:
    async def scenario() -> None:
        (folder / "closed").mkdir(mode=0o700)
        async with host(folder / "closed") as (_, process):
            assert await process.wait() == 2
            assert process.log.splitlines()[-1] == (
                f"agent: nodes are to run as '{TASK}', to whom {folder}/closed is closed: give --state-dir"
                " (or --work-dir) one that it can pass, like /var/lib/rallypoint/agent, or let it pass by"
                f" 'chmod o+x {folder}/closed'"
            )

    asyncio.run(scenario())


def test_the_spawner_is_itself_again_after_each_start(folder: Path) -> None:
    """Also after one that failed; and what it was stopped by, while it was somebody else, is undone."""
    with spawner(folder) as client:
        everyone = {"as": [TASK, TASK, [TASK]], "cwd": "/"}
        client.spawn("j.0.1", "id -u; id -G", **everyone)
        assert client.next("exited", "j.0.1")["code"] == 0
        assert client.output("j.0.1") == f"{TASK}\n{TASK}\n"
        client.spawn("k.0.1", "true", **{**everyone, "cwd": str(closed(folder))})
        failed = client.next("exited", "k.0.1")
        assert failed["reason"] == f"working directory '{folder}/closed': Permission denied"
        path = f"/usr/bin:{folder}/closed"
        client.spawn("n.0.1", "conda", "info", env={"PATH": path}, **everyone)
        failed = client.next("exited", "n.0.1")
        said = f"'conda' could not be started: no such program in PATH ({path}, of which closed to its user: "
        assert failed["reason"] == f"{said}{folder}/closed)"
        client.spawn("l.0.1", "id -u; id -G", cwd="/")
        assert client.next("exited", "l.0.1")["code"] == 0
        own = f"{os.getuid()}\n{' '.join(str(each) for each in dict.fromkeys([os.getgid(), *os.getgroups()]))}\n"
        assert client.output("l.0.1") == own
        pid = client.spawner_pid()
        assert pid is not None
        os.kill(pid, 19)
        client.spawn("m.0.1", "echo on")
        assert client.output("m.0.1") == "on\n"


def closed(folder: Path) -> Path:
    made = folder / "closed"
    made.mkdir(mode=0o700)
    return made


def test_files_are_given_as_they_lie_and_nothing_that_they_lead_to(folder: Path) -> None:
    work, outside = folder / "work", folder / "outside"
    (work / "deep").mkdir(parents=True)
    (work / "deep" / "file").write_text("x")
    outside.mkdir()
    (outside / "secret").write_text("y")
    (work / "link").symlink_to(outside)
    (work / "deep" / "leaf").symlink_to(outside / "secret")
    give(str(work), Account("t", TASK, OTHER))
    for path in (work, work / "deep", work / "deep" / "file", work / "link", work / "deep" / "leaf"):
        assert (path.lstat().st_uid, path.lstat().st_gid) == (TASK, OTHER)
    assert outside.stat().st_uid == (outside / "secret").stat().st_uid == 0
    # What they have put there since is not given to them with it.
    os.link(outside / "secret", work / "mine")
    give(str(work), Account("t", TASK, OTHER))
    assert (outside / "secret").stat().st_uid == 0


def account(name: str, uid: int) -> Account:
    return Account(name, uid, uid)


def test_what_an_owner_allows() -> None:
    users = Users(account("root", 0), account("task", TASK), ("*",))
    assert users.account(str(OTHER)) == account(str(OTHER), OTHER)
    with pytest.raises(UserRefused, match="may not run as 'root'"):
        users.account("root")
    assert users.account("") == account("task", TASK)
    with pytest.raises(UserRefused, match="is not in group '0'"):
        users.account(f"{OTHER}:0")
    assert Users(account("root", 0), account("root", 0)).account("root") is None


def test_a_spawner_of_an_earlier_release_goes_on_as_it_did() -> None:
    users = HostUsers(Users(account("root", 0), account("task", TASK), (str(OTHER),)), spawner_can=False)
    assert users.account("") is None
    assert users.policy().default == "root"
    with pytest.raises(UserRefused, match="an earlier release still run"):
        users.account(str(OTHER))


# An account that is made while an agent runs, in a file that nobody else sees.
_LATE = """
from agent.statedir import make_state_dir
from agent.users import Account, UserRefused, Users
users = Users(Account("root", 0, 0), Account("task", 54321, 54321), ("late",))
try:
    users.account("late")
except UserRefused as refusal:
    print(refusal)
with open("/etc/passwd", "a") as file:
    file.write("late:x:54322:54322::/nowhere:/bin/sh\\n")
print(users.account("late").uid)
"""


def test_an_account_that_was_missed_is_found_once_it_is_there(folder: Path) -> None:
    (folder / "passwd").write_text(Path("/etc/passwd").read_text())
    inside = 'mount --bind "$0" /etc/passwd && exec "$@"'
    command = ["unshare", "--mount", "sh", "-c", inside, str(folder / "passwd"), sys.executable, "-c", _LATE]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == (
        "user 'late' does not exist on this host; name another, or a user id\n54322\n",
        "",
    )


def test_the_doctor_says_whom_nodes_run_as_and_what_is_closed_to_them(folder: Path) -> None:
    (folder / "closed" / "bin").mkdir(parents=True)
    (folder / "closed").chmod(0o700)
    settings = load({"state_dir": folder / "agent", "task_user": str(TASK), "allow_users": ("a",)}, {})
    (found,) = examine_users(settings, f"/usr/bin:{folder}/none")
    assert (found.level, found.text) == ("ok", f"nodes run as '{TASK}', or as whom their job names of a")
    (_, found) = examine_users(settings, f"/usr/bin:{folder}/closed/bin")
    assert (found.level, found.text) == ("warn", f"'{TASK}' can't run what is in {folder}/closed/bin (of PATH)")
    (found,) = examine_users(replace(settings, state_dir=folder / "closed" / "new" / "agent"), "/usr/bin")
    assert found.level == "error"
    assert found.text.endswith(f", to whom {folder}/closed is closed")
    (found,) = examine_users(replace(settings, task_user="no-such"), "/usr/bin")
    assert (found.level, found.text[:20]) == ("error", "task_user 'no-such':")
    command = [
        "setpriv",
        "--bounding-set=-setuid",
        "--inh-caps=-all",
        sys.executable,
        "-m",
        "agent",
        "doctor",
        "--json",
    ]
    env = {**os.environ, "RALLYPOINT_AGENT_TASK_USER": ""}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    said = [each["text"] for each in json.loads(done.stdout)["findings"] if each["topic"] == "users"]
    assert said == ["nodes run as 'root': its agent runs as 'root', which may not change users (lacks CAP_SETUID)"]


def test_devices_that_only_root_or_a_group_may_open(folder: Path) -> None:
    for number, (mode, group) in enumerate(((0o666, 0), (0o600, 0), (0o660, OTHER), (0o660, 0))):
        path = folder / f"nvidia{number}"
        os.mknod(path, stat.S_IFCHR, os.makedev(1, 3))
        path.chmod(mode)
        os.chown(path, 0, group)
    (folder / "nvidia9").touch(0o600)
    found = closed_devices(Account("task", TASK, TASK, (OTHER,)), [f"{folder}/nvidia*"])
    assert found == [f"{folder}/nvidia1", f"{folder}/nvidia3"]


def test_a_masked_shell_of_roots_closes_no_way_to_what_it_makes(folder: Path) -> None:
    masked = os.umask(0o077)
    try:
        make_state_dir(folder / "var" / "rallypoint" / "agent")
    finally:
        os.umask(masked)
    check_passable(Users(account("root", 0), account("task", TASK)), [folder / "var" / "rallypoint"])
    assert stat.S_IMODE((folder / "var" / "rallypoint" / "agent").stat().st_mode) == 0o700


def test_settings_that_cannot_be_kept(root: None, tmp_path: Path) -> None:
    with pytest.raises(UserUnusable, match="task_user 'no-such': there is no such user; make one"):
        users_of("no-such", ())
    tmp_path.chmod(0o700)
    with pytest.raises(UserUnusable, match=r"to whom .* is closed"):
        check_passable(Users(account("root", 0), account("task", TASK)), [tmp_path])
    check_passable(only_own(), [tmp_path])
