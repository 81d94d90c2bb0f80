"""What nodes are given that run as somebody else than the agent, and that it stays theirs; what they leave behind."""

from __future__ import annotations

import asyncio
import os
import stat
import tarfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.fakes.agent_coordinator import FakeCoordinator, any_node, coordinator, enrol, pb, types
from tests.fakes.agent_process import AgentProcess, agent
from tests.other_user import OTHER, TASK, open_folder
from tests.support import eventually, missing
from tests.unit.agent.test_archive import tar

pytestmark = pytest.mark.timeout(90)


@pytest.fixture
def folder() -> Iterator[Path]:
    if os.geteuid() != 0:
        missing("the right to change users", "run the tests as root")
    with open_folder("nodes-") as made:
        yield made


# An agent that is not root, and may do just what changing users takes.
OWN = 54_400
CAPABILITIES = "-all,+chown,+dac_override,+kill,+setgid,+setuid"
BARELY = ("setpriv", f"--reuid={OWN}", f"--regid={OWN}", "--clear-groups")
BARELY += tuple(f"--{name}={CAPABILITIES}" for name in ("bounding-set", "inh-caps", "ambient-caps"))


@asynccontextmanager
async def host(
    folder: Path, within: Sequence[str] = (), task_user: str = str(TASK), **environ: str
) -> AsyncIterator[tuple[FakeCoordinator, AgentProcess]]:
    async with coordinator(folder / "coordinator") as fake:
        state = folder / "agent"
        enrol(fake.authority, state, "h-1", fake.address)
        if within == BARELY:
            for path in (state, *state.iterdir()):
                os.chown(path, OWN, OWN)
        options = ("--task-user", task_user, "--allow-users", str(OTHER))
        async with agent(state, *options, within=within, PYTHONDONTWRITEBYTECODE="1", **environ) as process:
            yield fake, process


# By its whole path, as programs and libraries are found: what is open already stays open.
WATCH = 'touch here; echo on; until [ -e end ]; do [ -e "$HOME/here" ] || echo closed; done'


def test_no_start_of_an_agent_closes_the_way_to_what_runs(folder: Path) -> None:
    """Nor does one that ends at once, since there is one already."""

    async def scenario() -> None:
        async with host(folder) as (fake, process):
            fake.want(any_node("j.0.1", "sh", "-c", WATCH))
            await fake.until(lambda: fake.logs.get("j.0.1"), "output")
            fake.desired["j.0.1"].started = True
            second = AgentProcess(process.state_dir)
            await second.start()
            assert await second.wait() == 4
            assert stat.S_IMODE(process.state_dir.stat().st_mode) == 0o711
            await process.kill()
            fake.statuses.clear()
            await process.start()
            await fake.running("j.0.1")
            (process.state_dir / "work" / "j.0.1" / "end").touch()
            assert (await fake.ended("j.0.1")).exit_code == 0
            assert fake.logs["j.0.1"] == b"on\n"

    asyncio.run(scenario())


# Others may run these tests on this machine now, and the path that hosts have in common has it in its name.
PORT = 30_000 + os.getpid() % 20_000


def group_of_one(node: pb.DesiredAllocation) -> pb.DesiredAllocation:
    node.spec.placement, node.spec.startup_order = types.PLACEMENT_CLUSTER, types.STARTUP_ORDER_MASTER_FIRST
    node.group.generation, node.group.master_address, node.group.master_port = 1, "127.0.0.1", PORT
    node.group.members.add(host_id="h-1", host_name="h-1", address="127.0.0.1", slots=2)
    return node


# Its own files and those of its group; then it says that it is ready, and leaves what is hard to remove.
MEMBER = r"""
set -e
cd src && ./tool && echo changed >> data && mkdir new && cp data new && rm -r ../src/tool && cd ..
cat "$DSTACK_MPI_HOSTFILE"; grep -c secret "$RALLYPOINT_LAUNCH_TICKET"
echo "$PWD"
touch result
mkdir shut "$(dirname "$RALLYPOINT_READY_FILE")/deep"
ln -s /etc/passwd link; ln src/data hard; chmod 0 shut src/data "$(dirname "$RALLYPOINT_READY_FILE")/deep"
trap 'echo stopping; exit 3' TERM
echo "$RALLYPOINT_LAUNCH_TICKET $DSTACK_MPI_HOSTFILE $HOME/result $(dirname "$RALLYPOINT_READY_FILE")"
touch "$RALLYPOINT_READY_FILE"
while :; do sleep 0.05; done
"""


def files() -> bytes:
    tool = tarfile.TarInfo("src/tool")
    tool.mode = 0o755
    return tar(tool, ("src/data", b"data\n"))


@pytest.mark.parametrize("within", [(), BARELY], ids=["root", "capabilities"])
def test_a_member_of_a_group_has_its_files_announces_itself_and_is_stopped(folder: Path, within: tuple[str]) -> None:
    async def scenario() -> None:
        async with host(folder, within) as (fake, process):
            archive = types.FileArchive(sha256=fake.keep_archive(files()))
            node = group_of_one(any_node("j.0.1", "sh", "-c", MEMBER, files=archive))
            fake.want(node)
            await fake.until(lambda: fake.statuses.get("j.0.1") and fake.statuses["j.0.1"].ready, "ready")
            await fake.until(lambda: fake.logs.get("j.0.1", b"").count(b"\n") == 4, "output")
            hostfile, secrets, common, own = fake.logs["j.0.1"].decode().splitlines()
            assert (hostfile, secrets) == ("127.0.0.1 slots=2", "1")
            assert common == f"/tmp/rallypoint-j.1-{PORT}"
            fake.want(any_node("k.0.1", "sh", "-c", f"cat {own}", user=str(OTHER)))
            await fake.ended("k.0.1")
            said = fake.logs["k.0.1"].decode().splitlines()
            assert [line.rpartition(": ")[2] for line in said] == ["Permission denied"] * 4
            node.phase, node.stop_grace_seconds = pb.DESIRED_PHASE_STOPPED, 20
            fake.want(node)
            ended = await fake.ended("j.0.1")
            assert (ended.cause, ended.exit_code) == (pb.END_CAUSE_STOPPED, 3)
            assert fake.logs["j.0.1"].endswith(b"stopping\n")
            left = process.state_dir / "work" / "j.0.1"
            assert {path.lstat().st_uid for path in left.rglob("*")} == {TASK}
            assert (left / "src" / "new" / "data").read_text() == "data\nchanged\n"
            await asyncio.to_thread(eventually, lambda: not (process.state_dir / "nodes" / "j.0.1").exists())
            # Where all users write only root, or who has CAP_FOWNER, removes what was given away.
            assert within or not os.path.lexists(common)

    asyncio.run(scenario())


LAUNCHING = """
echo on; until [ -e go ]; do sleep 0.05; done
"$OMPI_MCA_plm_rsh_agent" 127.0.0.1 'id -u > launched' || exit; cat launched
"""


def test_mpi_waits_for_an_agent_that_is_started_anew(folder: Path) -> None:
    async def scenario() -> None:
        async with host(folder) as (fake, process):
            fake.want(group_of_one(any_node("j.0.1", "sh", "-c", LAUNCHING)))
            await fake.until(lambda: fake.logs.get("j.0.1"), "output")
            fake.desired["j.0.1"].started = True
            await process.kill()
            (process.state_dir / "work" / "j.0.1" / "go").touch()
            fake.statuses.clear()
            await process.start()
            assert (await fake.ended("j.0.1")).exit_code == 0
            assert fake.logs["j.0.1"] == b"on\n%d\n" % TASK

    asyncio.run(scenario())


def test_whom_the_owner_allows_runs_also_where_all_others_run_as_the_agent(folder: Path) -> None:
    async def scenario() -> None:
        async with host(folder, task_user="root") as (fake, _):
            allowed = any_node("j.0.1", "sh", "-c", 'cd "$PWD" && id -u', user=str(OTHER))
            fake.want(allowed, any_node("k.0.1", "id", "-u"))
            assert (await fake.ended("j.0.1")).reason == (await fake.ended("k.0.1")).reason == ""
            assert (fake.logs["j.0.1"], fake.logs["k.0.1"]) == (b"%d\n" % OTHER, b"0\n")
            folder.chmod(0o700)
            fake.want(any_node("l.0.1", "id", "-u", user=str(OTHER)))
            ended = await fake.ended("l.0.1")
            folder.chmod(0o755)
            assert (ended.cause, ended.reason) == (
                pb.END_CAUSE_HOST,
                f"its working directory could not be made: {folder}: closed to user '{OTHER}', as whom it is to run",
            )

    asyncio.run(scenario())


BESIDE = """
df --output=size /dev/shm | tail -1
"$OMPI_MCA_plm_rsh_agent" 127.0.0.1 'df --output=size /dev/shm > x; id -u >> x' || exit; tail -2 x
"""
# As a container's agent has them that may mount, and no more.
UNSEEING = ("setpriv", "--bounding-set=-sys_ptrace")


def test_what_mpi_starts_beside_a_node_has_its_shared_memory_without_a_right_to_look_into_it(folder: Path) -> None:
    async def scenario() -> None:
        async with host(folder, UNSEEING) as (fake, _):
            node = group_of_one(any_node("j.0.1", "sh", "-c", BESIDE))
            node.spec.resources.shm_bytes = 32 << 20
            fake.want(node)
            assert (await fake.ended("j.0.1")).exit_code == 0, fake.logs["j.0.1"].decode()
            assert fake.logs["j.0.1"].split() == [b"32768", b"32768", b"%d" % TASK]

    asyncio.run(scenario())


EATER = "dd if=/dev/zero of=/dev/shm/x bs=1M count=40 2>&1 | grep -o 33554432; python3 -c 'bytearray(300 << 20)'"


def test_memory_is_bounded_for_others_too(folder: Path) -> None:
    async def scenario() -> None:
        async with host(folder) as (fake, _):
            node = any_node("j.0.1", "sh", "-c", EATER)
            node.spec.resources.memory_bytes.max, node.spec.resources.shm_bytes = 200 << 20, 32 << 20
            fake.want(node)
            ended = await fake.ended("j.0.1")
            limits = fake.hardware.limits
            if not (limits.memory.by and limits.shm.by):
                missing("memory limits and mounts", "run the tests as root, with cgroups mounted")
            assert (ended.cause, ended.exit_code) == (pb.END_CAUSE_OUT_OF_MEMORY, 137)
            assert fake.logs["j.0.1"].startswith(b"33554432\n")

    asyncio.run(scenario())


# As uv does it: a link to an interpreter that is kept for all, or that was found.
_UV = r"""#!/bin/sh
[ "$1" = --version ] && { echo "uv 0.9.1 (abc)"; exit 0; }
[ -n "$7" ] || { echo "uv of $(id -u)"; exit 0; }
python=$UV_PYTHON_INSTALL_DIR/bin/python
[ "$6" = 3.12 ] || python=$HOME/bin/python
mkdir -p "$7/bin" "${python%/*}" "$UV_CACHE_DIR"
printf '#!/bin/sh\nid -u\n' >"$python"
chmod +x "$python"
ln -s "$python" "$7/bin/python"
"""
# As an administrator's shell may have it.
MASKED = ("sh", "-c", 'umask 077 && exec "$@"', "masked")


def test_an_environment_of_python_is_the_nodes_own_whatever_is_closed_to_it(folder: Path) -> None:
    home = folder / "home"
    (home / ".local" / "bin").mkdir(parents=True)
    home.chmod(0o700)
    (home / ".local" / "bin" / "uv").write_text(_UV)
    (home / ".local" / "bin" / "uv").chmod(0o755)

    async def scenario() -> None:
        async with host(folder, MASKED, HOME=str(home), PATH="/usr/bin:/bin") as (fake, process):
            await fake.until(lambda: fake.hardware.uv == "0.9.1", "uv in the report of the hardware")
            script = 'python; uv; touch "$VIRTUAL_ENV/mine"; ls "$VIRTUAL_ENV"/../../../uv-cache'
            fake.want(any_node("j.0.1", "sh", "-c", script, python="3.12"), any_node("k.0.1", "true", python="3.13"))
            assert (await fake.ended("j.0.1")).exit_code == 2
            python, uv, cache = fake.logs["j.0.1"].decode().splitlines()
            assert (python, uv) == (str(TASK), f"uv of {TASK}")
            assert cache.endswith("Permission denied")
            ended = await fake.ended("k.0.1")
            assert (ended.cause, ended.reason) == (
                pb.END_CAUSE_HOST,
                f"python 3.13: uv took {home}/bin/python, but {home} is closed to '{TASK}', as whom the node runs: open"
                " it, or set UV_PYTHON_INSTALL_DIR for the agent to a directory that all users can read",
            )
            await asyncio.to_thread(eventually, lambda: not list((process.state_dir / "nodes").iterdir()))

    asyncio.run(scenario())
