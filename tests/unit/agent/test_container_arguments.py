"""What a runtime is asked for: GPUs, limits, programs; by its arguments alone, as no GPU and no docker is needed."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.containers import cdi, create, detect, identity, images, names, variables
from agent.containers.model import Auth, Image, NotReady, Runtime
from agent.core.model import AllocationId, Cause, Desired, Spec, Wanted
from agent.users import Account
from tests.support import eventually

pytestmark = pytest.mark.timeout(60)

PODMAN = Runtime("podman", "/usr/bin/podman", "4.3.1", limits=("cpu", "memory", "pids"))
DOCKER = Runtime("docker", "/usr/bin/docker", "28.2.2", limits=("memory",), init=True, gpus="nvidia")
UUIDS = ("GPU-aa", "GPU-bb")


def plan(spec: Spec, gpus: tuple[str, ...] = (), script: str = "") -> create.Plan:
    desired = Desired(AllocationId("j-1.0.1"), "j-1", "n", 0, 1, Wanted.RUNNING, spec, gpu_uuids=gpus)
    cards = {uuid: create.Card(index) for index, uuid in enumerate(UUIDS)} | {"MIG-1": create.Card(0, is_part=True)}
    return create.Plan(
        desired,
        "c",
        ["--label", "a=b"],
        Image("sha256:1", "alpine"),
        [create.Mount("/w", '/s,t"ate')],
        "/w",
        cards,
        script=script,
    )


def after(words: list[str], option: str) -> list[str]:
    return [words[at + 1] for at, word in enumerate(words) if word == option]


@pytest.mark.parametrize(
    ("runtime", "gpus", "option", "values"),
    [
        (replace(PODMAN, gpus="cdi", devices=frozenset({"GPU-aa", "GPU-bb", "0", "1"})), UUIDS, "--device",
         ["nvidia.com/gpu=GPU-aa", "nvidia.com/gpu=GPU-bb"]),
        (replace(PODMAN, gpus="cdi", devices=frozenset({"0", "1", "all"})), ("GPU-bb",), "--device",
         ["nvidia.com/gpu=1"]),
        (replace(DOCKER, gpus="cdi", devices=frozenset({"MIG-1"})), ("MIG-1",), "--device", ["nvidia.com/gpu=MIG-1"]),
        (DOCKER, UUIDS, "--gpus", ['"device=GPU-aa,GPU-bb"']),
        (DOCKER, (), "--gpus", []),
    ],
)  # fmt: skip
def test_exactly_the_gpus_that_a_node_holds(
    runtime: Runtime, gpus: tuple[str, ...], option: str, values: list[str]
) -> None:
    found = plan(Spec(image="alpine"), gpus)
    assert after(create.options(found, runtime), option) == values
    visible = create.gpu_variables(found, runtime)["NVIDIA_VISIBLE_DEVICES"]
    assert visible == (",".join(gpus) if gpus and runtime.gpus == "nvidia" else "void")


@pytest.mark.parametrize("uuid", ["GPU-unknown", "MIG-1"])
def test_a_gpu_without_a_name_is_refused(uuid: str) -> None:
    runtime = replace(PODMAN, gpus="cdi", devices=frozenset({"0", "1"}))
    with pytest.raises(NotReady, match=f"can't give a container the GPU {uuid}"):
        create.options(plan(Spec(image="alpine"), (uuid,)), runtime)


def test_limits_users_and_privileges() -> None:
    spec = Spec(image="alpine", memory_limit=1 << 30, shm_bytes=1 << 20, privileged=True, user="1000:1000")
    words = create.options(plan(spec), DOCKER)
    assert after(words, "--memory") == after(words, "--memory-swap") == [str(1 << 30)]
    assert after(words, "--shm-size") == [str(1 << 20)]
    assert after(words, "--user") == ["1000:1000"]
    assert {"--privileged", "--init"} <= set(words)
    assert after(words, "--mount") == ['type=bind,source=/w,"target=/s,t""ate"']
    assert "--memory" not in create.options(plan(spec), replace(PODMAN, limits=()))
    bounded = replace(plan(spec), bounds={"cpus": 2, "hard": True, "pids": 99})
    words = create.options(bounded, PODMAN)
    assert (after(words, "--cpus"), after(words, "--pids-limit")) == (["2"], ["99"])
    words = create.options(replace(bounded, bounds={"cpus": 2, "hard": False}), PODMAN)
    assert (after(words, "--cpu-shares"), after(words, "--pids-limit")) == (["2048"], ["-1"])
    assert "--cap-drop" not in create.options(plan(spec), PODMAN)
    words = create.options(plan(Spec(image="alpine")), DOCKER)
    assert "--privileged" not in words
    assert after(words, "--cap-drop") == ["MKNOD", "SETFCAP"]
    assert "no-new-privileges" in after(words, "--security-opt")
    found = replace(plan(Spec(image="alpine")), mounts=(create.Mount("/a", "/b", read_only=True),))
    assert after(create.options(found, DOCKER), "--mount") == ["type=bind,source=/a,target=/b,readonly"]


@given(
    root=st.integers(1, 2**31), gid=st.integers(1, 70_000), groups=st.lists(st.integers(0, 70_000), max_size=5),
    inside=st.integers(0, identity.COUNT),
)  # fmt: skip
def test_no_user_of_a_container_is_the_hosts_root(root: int, gid: int, groups: list[int], inside: int) -> None:
    task = Account("task", root, gid, tuple(groups))
    found = identity.identity_of(PODMAN, task, privileged=False)
    assert found is not None
    words = found.options()
    allowed = {group for group in groups if 0 < group <= identity.COUNT}
    for option, first, same in (("--uidmap", root, set[int]()), ("--gidmap", gid, allowed)):
        places: dict[int, int] = {}
        end = 0
        for piece in after(words, option):
            begin, host, count = map(int, piece.split(":"))
            # Without a gap, so that every user of an image is somebody.
            assert (begin, count > 0) == (end, True)
            end = begin + count
            assert host > 0
            if begin <= inside < end:
                places[inside] = host + inside - begin
        assert end == identity.COUNT + 1
        assert places[inside] in {first, *same} | set(range(identity.FIRST, identity.FIRST + identity.COUNT))
        if option == "--uidmap":
            assert places[inside] == found.on_host(inside)
    assert {int(group) for group in after(words, "--group-add")} == allowed - {gid}


def test_whom_containers_run_as() -> None:
    task = Account("task", 990, 991, (44, 991))
    for runtime in (DOCKER, PODMAN, replace(PODMAN, rootless=True)):
        assert identity.identity_of(runtime, task, privileged=True) is None
        assert identity.identity_of(runtime, replace(task, uid=0), privileged=False) is None
        assert (identity.identity_of(runtime, task, privileged=False) is None) == runtime.rootless
    made = replace(
        plan(Spec(image="alpine", user="990")), identity=identity.identity_of(DOCKER, task, privileged=False)
    )
    words = create.options(made, DOCKER)
    assert (after(words, "--user"), after(words, "--userns"), after(words, "--group-add")) == (
        ["990:991"], ["host"], ["44"]
    )  # fmt: skip
    made = replace(made, identity=identity.identity_of(PODMAN, task, privileged=False))
    words = create.options(made, PODMAN)
    assert (after(words, "--user"), after(words, "--userns")) == (["990"], [])


@pytest.mark.parametrize(
    ("spec", "entrypoint", "words"),
    [
        (Spec(image="a"), [], []),
        (Spec(image="a", argv=("x", "y")), [""], ["x", "y"]),
        (Spec(image="a", entrypoint="/x 'a b'", commands=("c d", "e")), ["/x"], ["a b", "c d", "e"]),
        (Spec(image="a", commands=("c",)), [""], ["/bin/sh", "-c", "s"]),
        (Spec(image="a", commands=("c",), shell="bash"), [""], ["bash", "-c", "s"]),
    ],
)
def test_programs(spec: Spec, entrypoint: list[str], words: list[str]) -> None:
    found = plan(spec, script="s")
    assert after(create.options(found, DOCKER), "--entrypoint") == entrypoint
    assert create.words(found, DOCKER) == ["sha256:1", *words]


def test_cdi_files_are_read_and_odd_ones_passed_over(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps({"kind": "nvidia.com/gpu", "devices": [{"name": "GPU-aa"}]}))
    (tmp_path / "b.yaml").write_text(
        'cdiVersion: "0.5.0"\nkind: nvidia.com/gpu\ndevices:\n- containerEdits:\n    deviceNodes:\n'
        "    - path: /dev/nvidia0\n  name: \"0\"\n- name: 'all'\n"
    )
    (tmp_path / "c.json").write_text(json.dumps({"kind": "example.com/nic", "devices": [{"name": "x"}]}))
    (tmp_path / "d.json").write_text("{")
    assert cdi.devices((tmp_path, tmp_path / "none")) == {"GPU-aa", "0", "all"}


def program(folder: Path, name: str, text: str) -> dict[str, str]:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / name).chmod(0o755)
    return {"PATH": f"{folder}:/usr/bin:/bin", "SECRET": "x"}


def test_docker_is_asked_what_it_can_do(tmp_path: Path) -> None:
    told = {"ServerVersion": "28.2.2", "Runtimes": {"nvidia": {}, "runc": {}}, "MemoryLimit": True, "PidsLimit": True,
            "InitBinary": "docker-init", "SecurityOptions": ["name=rootless"]}  # fmt: skip
    env = program(tmp_path / "bin", "docker", f"[ -z \"$SECRET\" ] && echo '{json.dumps(told)}'")
    found = asyncio.run(detect.detect("docker", env))
    assert (found.kind, found.version, found.gpus, found.rootless) == ("docker", "28.2.2", "nvidia", True)
    assert (found.limits, found.init, found.problem) == (("memory", "pids"), True, "")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("echo 'Cannot connect to the Docker daemon' >&2; exit 1", "docker is there but does not work: Cannot connect"),
        ("echo nonsense", "docker is there but what it says is not understood"),
        ('echo \'{"ServerErrors": ["no daemon"]}\'', "docker is there but does not work: no daemon"),
        ("sleep 1000", "docker is there but does not work"),
    ],
)
def test_a_runtime_that_does_not_work_is_told_and_never_waited_for(
    tmp_path: Path, text: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(detect, "ANSWER_SECONDS", 0.3)
    began = time.monotonic()
    found = asyncio.run(detect.detect("docker", program(tmp_path / "bin", "docker", text)))
    assert not found.path
    assert found.problem.startswith(said) or "did not answer within" in found.problem
    assert time.monotonic() - began < 20


def test_who_wants_an_image_whose_fetch_just_lost_its_last_waiter_has_it_fetched_anew(tmp_path: Path) -> None:
    # The first fetch dies slowly: something of it that nobody knows of has its output.
    env = program(
        tmp_path / "bin",
        "podman",
        f"""cd {tmp_path}
case $1 in
pull) [ -e begun ] && : >here && exit
  setsid timeout 9 sh -c 'until [ -e here ]; do sleep 0.05; done' &
  : >begun; exec sleep 100;;
image) [ -e here ] && echo '[{{"Id": "x"}}]';;
esac""",
    )
    runtime = replace(PODMAN, path=str(tmp_path / "bin" / "podman"), env=env)

    async def scenario() -> None:
        kept = images.Images(tmp_path, keep=2, seconds=30.0)
        first = asyncio.create_task(kept.get(runtime, "a:1", None, lambda line: None))
        await asyncio.to_thread(eventually, (tmp_path / "begun").exists, what="a pull")
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        async with asyncio.timeout(20):
            assert (await kept.get(runtime, "a:1", None, lambda line: None)).id == "x"
        await asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()}), return_exceptions=True)

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("runtime", "knows"),
    # podman takes any image here whose name ends so for one without a registry: evil.example/other/tool:1, say, which
    # another user's job brought. docker takes it for its hub's, as we do.
    [(PODMAN, "other/tool:1"), (DOCKER, "docker.io/other/tool:1")],
)
def test_an_image_is_the_one_of_the_registry_that_is_meant(tmp_path: Path, runtime: Runtime, knows: str) -> None:
    env = program(
        tmp_path / "bin",
        runtime.kind,
        f"""cd {tmp_path}
case "$1 $3" in
pull*) : >pulled;;
"image {knows}") echo '[{{"Id": "anothers"}}]';;
"image docker.io/other/tool:1") [ -e pulled ] && echo '[{{"Id": "ours"}}]';;
*) exit 1;;
esac""",
    )
    runtime = replace(runtime, path=str(tmp_path / "bin" / runtime.kind), env=env)
    kept = images.Images(tmp_path, keep=2, seconds=30.0, pauses=())
    found = asyncio.run(kept.get(runtime, "other/tool:1", None, lambda line: None))
    assert (found.id, found.name) == ("ours" if runtime.kind == "podman" else "anothers", "docker.io/other/tool:1")


def test_an_image_that_took_a_password_is_for_those_who_show_one(tmp_path: Path) -> None:
    """Also where it is on the host already, for another one's job."""
    env = program(
        tmp_path / "bin",
        "podman",
        f"""cd {tmp_path}
case "$1 $2" in
"image inspect") [ -e here ] && echo '[{{"Id": "x"}}]';;
"pull --authfile") [ -e down ] && echo 'dial tcp: no route' >&2 && exit 125; : >here;;
*) echo 'requested access to the resource is denied' >&2; exit 125;;
esac""",
    )
    runtime = replace(PODMAN, path=str(tmp_path / "bin" / "podman"), env=env)
    mine = Auth("me", "pass")

    def got(kept: images.Images, auth: Auth | None) -> str:
        return asyncio.run(kept.get(runtime, "reg.example/a:1", auth, lambda line: None)).id

    def began() -> images.Images:
        return images.Images(tmp_path, keep=2, seconds=30.0, pauses=())

    kept = began()
    assert got(kept, mine) == "x"
    for agents in (kept, began()):
        with pytest.raises(NotReady, match="its registry refuses") as refused:
            got(agents, None)
        assert refused.value.cause is Cause.START_FAILED
        assert got(agents, mine) == "x"
    (tmp_path / "down").touch()
    assert got(kept, mine) == "x", "it was shown before"
    with pytest.raises(NotReady, match="no route"):
        got(kept, Auth("you", "pass"))


@pytest.mark.parametrize("kind", ["podman", "docker"])
def test_what_is_used_again_is_not_removed_first(tmp_path: Path, kind: str) -> None:
    text = f'[ $1 = pull ] && exec touch {tmp_path}/here; [ -e {tmp_path}/here ] && echo \'[{{"Id": "x"}}]\''
    env = program(tmp_path / "bin", kind, text)
    runtime = replace(PODMAN, kind=kind, path=str(tmp_path / "bin" / kind), env=env)
    kept = images.Images(tmp_path, keep=2, seconds=30.0, pauses=())

    async def scenario() -> None:
        await kept.get(runtime, "a:1", None, lambda line: None)
        ledger = tmp_path / images.LEDGER
        assert list(json.loads(ledger.read_text())) == kept.fetched() == ["docker.io/library/a:1"]
        ledger.write_text(json.dumps({"docker.io/library/a:1": 1.0}))
        await kept.get(runtime, "a:1", None, lambda line: None)
        assert json.loads(ledger.read_text())["docker.io/library/a:1"] > 1.0

    asyncio.run(scenario())


def test_a_password_that_a_killed_agent_left_does_not_stay(tmp_path: Path) -> None:
    env = program(tmp_path / "bin", "podman", f"[ $1 = pull ] && : >{tmp_path}/begun && exec sleep 100")
    runtime = replace(PODMAN, path=str(tmp_path / "bin" / "podman"), env=env)
    folder = tmp_path / "containers"
    folder.mkdir()

    async def scenario() -> None:
        kept = images.Images(folder, keep=2, seconds=30.0)
        getting = asyncio.create_task(kept.get(runtime, "a:1", Auth("me", "pass"), lambda line: None))
        await asyncio.to_thread(eventually, (tmp_path / "begun").exists, what="a pull")
        (left,) = folder.glob("pull-*/config.json")
        # As it is for one that is killed now: nobody cleans up.
        shutil.copytree(left.parent, folder / "pull-of-the-dead")
        getting.cancel()
        await asyncio.gather(getting, return_exceptions=True)
        await asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()}), return_exceptions=True)

    asyncio.run(scenario())
    assert [path.name for path in folder.iterdir()] == ["pull-of-the-dead"]
    images.Images(folder, keep=2, seconds=30.0)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("said", "cause"),
    [
        ('exec: "newuidmap": executable file not found in $PATH', Cause.HOST),
        ("manifest unknown: manifest unknown", Cause.START_FAILED),
        ("write /graph/x: no space left on device", Cause.HOST),
        ('Head "http://127.0.0.1:5000/v2/a/manifests/1": no basic auth credentials', Cause.START_FAILED),
        ("reading manifest 1 in docker.io/library/x: requested access to the resource is denied", Cause.START_FAILED),
        ("requested access to the resource is denied: denied: no such thing", Cause.START_FAILED),
        ("dial tcp: lookup reg.example.org: no such host", Cause.HOST),
    ],
)
def test_whose_fault_it_is_that_an_image_is_not_there(tmp_path: Path, said: str, cause: Cause) -> None:
    env = program(tmp_path / "bin", "podman", f"echo '{said}' >&2; exit 125")
    runtime = replace(PODMAN, path=str(tmp_path / "bin" / "podman"), env=env)
    kept = images.Images(tmp_path, keep=2, seconds=30.0, pauses=())
    with pytest.raises(NotReady) as failed:
        asyncio.run(kept.get(runtime, "a:1", None, lambda line: None))
    assert (failed.value.cause, said in str(failed.value)) == (cause, True)


@pytest.mark.parametrize(
    ("image", "registry", "full", "moving"),
    [
        ("ubuntu", "docker.io", "docker.io/library/ubuntu", True),
        ("me/tool:1.2", "docker.io", "docker.io/me/tool:1.2", False),
        ("reg.example.org:5000/a/b", "reg.example.org:5000", "reg.example.org:5000/a/b", True),
        ("reg.example.org/a:latest", "reg.example.org", "reg.example.org/a:latest", True),
        ("a@sha256:00", "docker.io", "docker.io/library/a@sha256:00", False),
        ("localhost/x:1", "localhost", "localhost/x:1", False),
    ],
)
def test_names_of_images(image: str, registry: str, full: str, moving: bool) -> None:
    assert (names.registry_of(image), names.full(image), names.is_moving(image)) == (registry, full, moving)
    assert "PASS" not in repr(Auth("me", "PASS"))


@given(st.dictionaries(st.from_regex(r"V[A-Z_]{0,3}", fullmatch=True), st.text(st.characters(exclude_characters="\0",
       exclude_categories=["Cs"]), max_size=8), max_size=4))  # fmt: skip
def test_every_variable_is_said_in_one_of_two_ways(env: dict[str, str]) -> None:
    lines, inherited = variables.split(env)
    assert dict(line.split("=", 1) for line in lines) | inherited == env
    assert not any(line != line.rstrip() or "\n" in line or "\r" in line for line in lines if line.partition("=")[2])


@pytest.mark.parametrize("name", ["LD_PRELOAD", "PATH", "DOCKER_HOST", "CONTAINERS_CONF", "GODEBUG", "http_proxy"])
def test_what_the_runtimes_program_would_obey_it_is_not_given(name: str) -> None:
    assert variables.split({name: "plain"}) == ([f"{name}=plain"], {})
    with pytest.raises(variables.Unsayable, match=name):
        variables.split({name: "a\nb"})


def test_the_undoing_of_a_container_waits_for_an_answer(tmp_path: Path) -> None:
    from agent.containers.host import _UNDO

    state = tmp_path / "there"
    runtime = tmp_path / "bin" / "docker"
    remove, show = f"[ -e {state}.stays ] || rm -f {state}", f"[ -e {state}.down ] && exit 1; cat {state} 2>&-; true"
    program(tmp_path / "bin", "docker", f"case $1 in rm) {remove};; ps) {show};; esac")

    def undone() -> bool:
        return subprocess.run(["sh", "-c", _UNDO, runtime, "c"], check=False, timeout=10).returncode == 0

    state.write_text("abc\n")
    (tmp_path / "there.stays").touch()
    assert not undone()
    (tmp_path / "there.stays").unlink()
    (tmp_path / "there.down").touch()
    assert not undone()
    (tmp_path / "there.down").unlink()
    assert undone()
