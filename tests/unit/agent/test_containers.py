"""Nodes in containers, by real podman: as without one, whoever of the agent's processes dies meanwhile."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from rallypoint.v1.types_pb2 import PLACEMENT_CLUSTER, STARTUP_ORDER_MASTER_FIRST, IntRange, RegistryAuth, Resources

from agent.containers.identity import FIRST
from tests.fakes.agent_coordinator import FakeCoordinator, any_node, coordinator, enrol, pb
from tests.fakes.agent_process import AgentProcess, agent, reaper_of, spawner_of
from tests.fakes.podman import IMAGE, Podman
from tests.fakes.registry import PASSWORD, USER, Registry, registry
from tests.support import eventually

pytestmark = pytest.mark.timeout(120)

# A user id that no account has.
TASK = 54_321
TRAPS = "busybox mknod device c 1 3 && echo 'made a device'; busybox grep NoNewPrivs /proc/self/status"


@pytest.fixture(scope="module")
def podman() -> Iterator[Podman]:
    # A short path: podman's sockets lie in its storage, and it hangs when a socket's path would be too long.
    with tempfile.TemporaryDirectory(prefix="podman-", dir="/tmp") as folder:
        found = Podman(Path(folder) / "own")
        try:
            found.make_image()
            yield found
        finally:
            found.close()


@asynccontextmanager
async def host(tmp_path: Path, podman: Podman, *options: str) -> AsyncIterator[tuple[FakeCoordinator, AgentProcess]]:
    """A coordinator and one agent whose host has podman."""
    async with coordinator(tmp_path / "coordinator") as fake:
        enrol(fake.authority, tmp_path / "agent", "h-1", fake.address)
        options = ("--containers", "podman", *options)
        async with agent(tmp_path / "agent", *options, **podman.environ) as process:
            await has_podman(fake)
            yield fake, process


def inside(process: AgentProcess) -> Path:
    """What the container of j.0.1 has as its directory."""
    return process.state_dir / "work" / "j.0.1" / "container"


async def has_podman(fake: FakeCoordinator) -> None:
    def told() -> bool:
        seen = [report.hardware for report in fake.reports] + [hello.hardware for hello in fake.opened]
        return any(hardware.containers.runtime == "podman" for hardware in seen)

    await fake.until(told, "podman in the report of the hardware")


def test_a_container_is_as_a_process_of_the_host(tmp_path: Path, podman: Podman) -> None:
    odd = {"LINES": "one\ntwo\n", "QUOTED": "'\"$HOME`x`\\", "EMPTY": "", "BLANKS": " a ", "LD_X": "plain"}

    async def scenario() -> None:
        async with host(tmp_path, podman) as (fake, process):
            script = "env | cat >all; pwd; cat given; echo err >&2; exit 7"
            order = any_node("j.0.1", image=IMAGE, env=odd, commands=["echo hello >given", script])
            fake.want(order)
            ended = await fake.ended("j.0.1")
            assert (ended.exit_code, ended.cause, ended.reason) == (7, pb.END_CAUSE_EXIT, "")
            work = process.state_dir / "work" / "j.0.1"
            assert fake.logs["j.0.1"].decode() == f"{work}\nhello\nerr\n"
            found = (inside(process) / "all").read_text()
            assert "OF_IMAGE=yes\n" in found
            assert "PATH=/bin\n" in found
            assert f"DSTACK_WORKING_DIR={work}\n" in found
            assert "NVIDIA_VISIBLE_DEVICES=void\n" in found
            for name, value in odd.items():
                assert f"{name}={value}\n" in found
            assert "SECRET" not in found
            assert podman.containers() == []
            assert not (process.state_dir / "containers" / "j.0.1").exists()

    asyncio.run(scenario())


@pytest.mark.parametrize("victims", ["agent", "spawner", "spawner and reaper", "all"])
def test_a_container_outlives_who_started_it(tmp_path: Path, podman: Podman, victims: str) -> None:
    async def scenario() -> None:
        async with host(tmp_path, podman) as (fake, process):
            gate = inside(process) / "gate"
            fake.want(
                any_node(
                    "j.0.1",
                    image=IMAGE,
                    commands=["echo one; while ! [ -e gate ]; do sleep 0.05; done", "echo two; exit 5"],
                )
            )
            await fake.until(lambda: fake.logs.get("j.0.1"), "output")
            fake.desired["j.0.1"].started = True
            spawner, reaper = spawner_of(process.state_dir), reaper_of(process.state_dir)
            assert spawner is not None
            assert reaper is not None
            if victims in ("agent", "all"):
                await process.kill()
            if victims in ("spawner and reaper", "all"):
                os.kill(reaper, signal.SIGKILL)
            if victims != "agent":
                os.kill(spawner, signal.SIGKILL)
            fake.statuses.clear()
            if victims == "all":
                gate.touch()
                await asyncio.to_thread(eventually, lambda: not running(podman), what="end of the container")
            if victims in ("agent", "all"):
                await process.start(**podman.environ)
            await asyncio.sleep(0)
            if victims != "all":
                await asyncio.to_thread(eventually, lambda: spawner_of(process.state_dir), what="a spawner")
                gate.touch()
            ended = await fake.ended("j.0.1")
            assert (ended.cause, ended.exit_code, ended.reason) == (pb.END_CAUSE_EXIT, 5, "")
            assert fake.logs["j.0.1"] == b"one\ntwo\n"
            await asyncio.to_thread(eventually, lambda: podman.containers() == [], what="nothing left")

    asyncio.run(scenario())


def running(podman: Podman) -> str:
    return podman("ps", "--format", "{{.Names}}")


def test_a_stop_reaches_all_processes_and_a_deaf_one_is_killed(tmp_path: Path, podman: Podman) -> None:
    async def scenario() -> None:
        async with host(tmp_path, podman) as (fake, process):
            # The child of a shell that waits for it hears the signal, too, and has time to say so.
            polite = "sh -c 'trap \"echo told; exit 3\" TERM; while :; do sleep 0.05; done'"
            deaf = "trap '' TERM; echo deaf; while :; do sleep 0.05; done"
            fake.want(
                any_node("j.0.1", image=IMAGE, commands=["echo here", polite]),
                any_node("k.0.1", image=IMAGE, commands=[deaf]),
            )
            await fake.until(lambda: fake.logs.get("j.0.1") and fake.logs.get("k.0.1"), "output")
            for key, grace in (("j.0.1", 20.0), ("k.0.1", 0.5)):
                order = fake.desired[key]
                order.phase, order.stop_reason = pb.DESIRED_PHASE_STOPPED, "asked to"
                order.stop_grace_seconds = grace
                fake.want(order)
            ended = await fake.ended("j.0.1")
            assert (ended.cause, ended.exit_code, ended.reason) == (pb.END_CAUSE_STOPPED, 3, "asked to")
            assert b"told\n" in fake.logs["j.0.1"]
            ended = await fake.ended("k.0.1")
            assert (ended.cause, ended.exit_code) == (pb.END_CAUSE_STOPPED, 137)
            assert podman.containers() == []
            assert process.pid

    asyncio.run(scenario())


def test_limits_are_held_and_what_cannot_start_says_why(tmp_path: Path, podman: Podman) -> None:
    memory = Resources(memory_bytes=IntRange(max=32 << 20), shm_bytes=16 << 20)

    async def scenario() -> None:
        async with host(tmp_path, podman) as (fake, _):
            greedy = "tail -c 100000000 /dev/zero; exit 5"
            fake.want(
                any_node("m.0.1", image=IMAGE, commands=[greedy], resources=memory),
                any_node("n.0.1", "no-such-program", image=IMAGE),
                any_node("p.0.1", image=IMAGE, commands=["true"], privileged=True),
                any_node("q.0.1", image=IMAGE, commands=["true"], env={"LD_PRELOAD": "a\nb"}),
                any_node("r.0.1", image=IMAGE, commands=["true"], env={"BIG": "x" * 200_000}),
            )
            ended = await fake.ended("m.0.1")
            assert (ended.cause, ended.reason) == (pb.END_CAUSE_OUT_OF_MEMORY, "out of memory: limit 32 MB")
            ended = await fake.ended("n.0.1")
            assert (ended.cause, ended.exit_code) == (pb.END_CAUSE_START_FAILED, 127)
            assert "no-such-program" in ended.reason
            ended = await fake.ended("p.0.1")
            assert (ended.cause, ended.reason) == (
                pb.END_CAUSE_HOST, "privileged containers are not allowed on this host (allow_privileged)"
            )  # fmt: skip
            ended = await fake.ended("q.0.1")
            assert ended.cause == pb.END_CAUSE_START_FAILED
            assert ended.reason.startswith("env LD_PRELOAD: a container can't be given")
            ended = await fake.ended("r.0.1")
            assert (ended.cause, ended.exit_code) == (pb.END_CAUSE_START_FAILED, 126)
            assert "its variables and commands are longer than a program's arguments may be" in ended.reason
            assert "r.0.1" not in fake.logs
            assert podman.containers() == []

    asyncio.run(scenario())


def test_what_a_dead_machine_left_is_swept_away_and_nothing_else(tmp_path: Path, podman: Podman) -> None:
    async def scenario() -> None:
        async with host(tmp_path, podman) as (fake, process):
            fake.want(any_node("j.0.1", image=IMAGE, commands=["echo here; sleep 1000"]))
            await fake.until(lambda: fake.logs.get("j.0.1"), "output")
            fake.desired["j.0.1"].started = True
            (mine,) = podman.containers()
            # Of the same name as one that is to come: an agent whose state directory was made anew in the same place.
            podman("create", "--name", mine.replace("j.0.1", "k.0.1"), IMAGE, "true")
            fake.want(any_node("k.0.1", image=IMAGE, commands=["echo anew"]))
            assert (await fake.ended("k.0.1")).exit_code == 0
            assert fake.logs["k.0.1"] == b"anew\n"
            label = podman("inspect", "--format", '{{index .Config.Labels "rallypoint.agent"}}', mine)
            left = f"rallypoint-{label}-old.0.1"
            podman("create", "--name", left, "--label", f"rallypoint.agent={label}",
                   "--label", "rallypoint.allocation=old.0.1", IMAGE, "true")  # fmt: skip
            podman("create", "--name", "others", "--label", "rallypoint.agent=other",
                   "--label", "rallypoint.allocation=old.0.1", IMAGE, "true")  # fmt: skip
            # Of an image that somebody made of a node's container, whose labels it has.
            podman("create", "--name", "somebodys", "--label", f"rallypoint.agent={label}",
                   "--label", "rallypoint.allocation=old.0.1", IMAGE, "true")  # fmt: skip
            await process.kill()
            await process.start(**podman.environ)
            await asyncio.to_thread(eventually, lambda: left not in podman.containers(), what="sweep")
            assert set(podman.containers()) == {mine, "others", "somebodys"}
            podman("rm", "others", "somebodys")
            fake.want(removed=("j.0.1",))
            await asyncio.to_thread(eventually, lambda: podman.containers() == [], what="end")

    asyncio.run(scenario())


def test_uninstalled_it_leaves_no_container_and_no_image_that_it_fetched(tmp_path: Path, podman: Podman) -> None:
    """What an agent whose machine died has left with its runtime."""
    fetched, used = "localhost/fetched:1", "localhost/used:1"
    folder = tmp_path / "agent" / "containers"
    folder.mkdir(parents=True)
    place = folder.parent.stat()
    own = f"{place.st_dev:x}-{place.st_ino:x}"
    podman("tag", IMAGE, fetched)
    podman("create", "--name", "others", IMAGE, "true")
    podman("commit", "--quiet", "others", used)
    podman("create", "--name", "users", used, "true")
    podman("create", "--name", f"rallypoint-{own}-j.0.1", "--label", f"rallypoint.agent={own}",
           "--label", "rallypoint.allocation=j.0.1", fetched, "true")  # fmt: skip
    (folder / "images.json").write_text(json.dumps({fetched: 1.0, used: 2.0}))
    command = [sys.executable, "-m", "agent", "uninstall", "--yes", "--state-dir", str(folder.parent)]
    env = {**os.environ, **podman.environ, "RALLYPOINT_AGENT_CONTAINERS": "podman"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=90, check=False)
    try:
        assert (done.returncode, done.stderr) == (0, "")
        assert (
            f"image {used} stays (something else uses it); to remove it: podman rmi {used}" in done.stdout.splitlines()
        )
        assert sorted(podman.containers()) == ["others", "users"]
        assert sorted(podman("images", "--format", "{{.Repository}}:{{.Tag}}").split()) == sorted((IMAGE, used))
        assert not folder.parent.exists()
    finally:
        podman("rm", "--force", "--time", "0", "others", "users")
        podman("rmi", "--force", used)


def test_an_image_is_fetched_once_with_the_password_and_what_is_wrong_is_said(tmp_path: Path, podman: Podman) -> None:
    def auth(password: str) -> RegistryAuth:
        return RegistryAuth(username=USER, password=password)

    async def scenario(there: Registry) -> None:
        async with host(tmp_path, podman, "--image-keep", "0") as (fake, process):
            fake.want(
                any_node("a.0.1", image=there.image(), commands=["true"], registry_auth=auth("wrong-WORD")),
                any_node("b.0.1", image=there.image(), commands=["true"]),
                any_node("c.0.1", image=there.image("missing"), commands=["true"], registry_auth=auth(PASSWORD)),
            )
            for key, said in (
                ("a.0.1", "its registry refuses"),
                ("b.0.1", "or add registry_auth"),
                ("c.0.1", "there is no such image"),
            ):
                ended = await fake.ended(key)
                assert ended.cause == pb.END_CAUSE_START_FAILED
                assert said in ended.reason
                assert "\n" not in ended.reason
            # What passes is tried again, and two that want the same fetch it once.
            there.asked.clear()
            there.broken = 1
            fake.want(*(
                any_node(key, image=there.image("2"), commands=["echo $0"], registry_auth=auth(PASSWORD))
                for key in ("d.0.1", "e.0.1")
            ))  # fmt: skip
            for key in ("d.0.1", "e.0.1"):
                ended = await fake.ended(key)
                assert (ended.cause, ended.exit_code) == (pb.END_CAUSE_EXIT, 0), ended.reason
            assert there.pulls("2") <= 2 + 3 * 4, there.asked
            # Ours goes when nobody needs it any more; what somebody else brought stays.
            await process.kill()
            await process.start(**podman.environ)
            names = "{{.Repository}}:{{.Tag}}"
            await asyncio.to_thread(eventually, lambda: podman("images", "--format", names) == IMAGE, what="room")
            assert "WORD" not in process.log
            assert not list((process.state_dir / "containers").glob("pull-*"))
            for path in process.state_dir.rglob("*"):
                assert not path.is_file() or b"WORD" not in path.read_bytes()

    with registry(podman) as there:
        asyncio.run(scenario(there))


def test_a_member_of_a_group_finds_its_files_and_announces_itself(tmp_path: Path, podman: Podman) -> None:
    async def scenario() -> None:
        async with host(tmp_path, podman) as (fake, process):
            script = 'cat "$DSTACK_MPI_HOSTFILE"; echo "$MASTER_ADDR"; : >"$RALLYPOINT_READY_FILE"; pwd; env'
            order = any_node("j.0.1", image=IMAGE, commands=[f"{script}; while ! [ -e go ]; do sleep 0.05; done"])
            order.spec.placement, order.spec.startup_order = PLACEMENT_CLUSTER, STARTUP_ORDER_MASTER_FIRST
            order.group.generation, order.group.master_address, order.group.master_port = 1, "127.0.0.1", 20001
            order.group.members.add(rank=0, host_id="h-1", host_name="h-1", address="127.0.0.1", peer_port=1, slots=2)
            fake.want(order)
            await fake.until(lambda: "j.0.1" in fake.statuses and fake.statuses["j.0.1"].ready, "announcement")
            (inside(process) / "go").touch()
            ended = await fake.ended("j.0.1")
            assert ended.exit_code == 0
            output = fake.logs["j.0.1"].decode()
            assert output.startswith("127.0.0.1 slots=2\n127.0.0.1\n/tmp/rallypoint-")
            # Of the host's own there is no program in an image, and no way to start one.
            assert "OMPI_MCA_plm_rsh_agent" not in output
            assert "RALLYPOINT_LAUNCH_TICKET" not in output

    asyncio.run(scenario())


@pytest.fixture
def passable() -> Iterator[Path]:
    """A folder that everybody can pass: pytest's own ones are closed."""
    made = Path(tempfile.mkdtemp(prefix="containers-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


def member(key: str, script: str, **fields: object) -> pb.DesiredAllocation:
    """A group's only node, which others would wait for."""
    order = any_node(key, image=IMAGE, commands=[script], **fields)
    order.spec.placement, order.spec.startup_order = PLACEMENT_CLUSTER, STARTUP_ORDER_MASTER_FIRST
    order.group.generation, order.group.master_address, order.group.master_port = 1, "127.0.0.1", 20002
    order.group.members.add(rank=0, host_id="h-1", host_name="h-1", address="127.0.0.1", peer_port=1, slots=2)
    return order


def of_host(word: str) -> tuple[int, bool] | None:
    """As whom the process of the host runs that has ``word`` in its arguments, and whether it has users of its own."""
    for place in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (place / "cmdline").read_bytes().split(b"\0")[-2:-1] == [word.encode()]:
                own = os.readlink("/proc/self/ns/user")
                return place.stat().st_uid, os.readlink(place / "ns" / "user") != own
    return None


def test_root_in_a_container_is_whom_plain_nodes_run_as(passable: Path, podman: Podman) -> None:
    async def scenario() -> None:
        async with host(passable, podman, "--task-user", str(TASK)) as (fake, process):
            # Of an agent that was killed while it made the image's files ready.
            place = process.state_dir.stat()
            podman("create", "--name", f"rallypoint-{place.st_dev:x}-{place.st_ino:x}-j.0.1-before", IMAGE, "true")
            inner, waits = "sh -c 'while ! [ -e go ]; do sleep 0.05; done' {0}", "; : >made"
            script = f'{TRAPS}; cat "$DSTACK_MPI_HOSTFILE"{waits}; : >"$RALLYPOINT_READY_FILE"; id -u; '
            fake.want(
                member("j.0.1", script + inner.format("as-root")),
                member("k.0.1", script + inner.format("as-number"), user="1000:1000"),
                member("l.0.1", script + inner.format("as-name"), user="app"),
                member("m.0.1", "true", user="nobody-at-all"),
            )
            ended = await fake.ended("m.0.1")
            assert ended.cause == pb.END_CAUSE_START_FAILED
            assert "it has no user 'nobody-at-all'" in ended.reason
            for key, word, inside, user in (
                ("j.0.1", "as-root", 0, TASK),
                ("k.0.1", "as-number", 1000, FIRST + 999),
                ("l.0.1", "as-name", 777, FIRST + 776),
            ):
                await fake.until(
                    lambda key=key: key in fake.statuses and fake.statuses[key].ready, f"announcement of {key}"
                )  # fmt: skip
                await asyncio.to_thread(eventually, lambda word=word: of_host(word), what=word)
                assert of_host(word) == (user, True)
                folder = process.state_dir / "work" / key / "container"
                assert (folder / "made").stat().st_uid == user
                assert fake.logs[key].decode().splitlines()[-2:] == ["127.0.0.1 slots=2", str(inside)]
                assert "made a device" not in fake.logs[key].decode()
                assert "NoNewPrivs:\t1" in fake.logs[key].decode()
                (folder / "go").touch()
                assert (await fake.ended(key)).exit_code == 0

    asyncio.run(scenario())


def test_where_nodes_are_roots_containers_are_too(tmp_path: Path, podman: Podman) -> None:
    async def scenario() -> None:
        async with host(tmp_path, podman, "--task-user", "root") as (fake, process):
            wait = "while ! [ -e go ]; do sleep 0.05; done"
            fake.want(any_node("j.0.1", image=IMAGE, commands=[f"echo here; sh -c '{wait}' as-the-hosts-root"]))
            await fake.until(lambda: fake.logs.get("j.0.1"), "output")
            await asyncio.to_thread(eventually, lambda: of_host("as-the-hosts-root"), what="it")
            assert of_host("as-the-hosts-root") == (0, False)
            (inside(process) / "go").touch()
            assert (await fake.ended("j.0.1")).exit_code == 0

    asyncio.run(scenario())
