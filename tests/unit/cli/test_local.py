"""``submit --local``: a whole cluster for one job, and nothing left of it afterwards."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import eventually

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.skipif(sys.platform != "linux", reason="agents run on Linux only"),
]


def submit(tmp_path: Path, *arguments: str, path: str = "") -> subprocess.Popen[str]:
    """``path``: a folder of programs that are found before all others."""
    return subprocess.Popen(
        [sys.executable, "-m", "coordinator", "submit", "--local", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # An address of a real coordinator in the environment must not reach the one that is made.
        env={
            **os.environ,
            "TMPDIR": str(tmp_path),
            "RALLYPOINT_LISTEN": "nonsense",
            "PATH": f"{path}:{os.environ['PATH']}",
        },
    )


def living(folder: Path) -> list[str]:
    """Command lines of processes that name the folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = process.read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if str(folder) in line:
            found.append(line)
    return found


def nothing_is_left(tmp_path: Path) -> None:
    eventually(lambda: not living(tmp_path), what="no process left")
    assert list(tmp_path.iterdir()) == []


def test_output_and_exit_code(tmp_path: Path) -> None:
    process = submit(
        tmp_path, "--nodes", "3", "--placement", "any", "--", "sh", "-c", "echo rank $DSTACK_NODE_RANK; exit 0"
    )
    out, err = process.communicate(timeout=100)
    assert process.returncode == 0, err
    assert sorted(out.splitlines()) == ["[0] rank 0", "[1] rank 1", "[2] rank 2"]
    nothing_is_left(tmp_path)


def test_a_group_has_an_agent_for_each_node(tmp_path: Path) -> None:
    process = submit(tmp_path, "--nodes", "2", "--", "sh", "-c", "echo $DSTACK_NODES_NUM $MASTER_PORT; exit 3")
    out, err = process.communicate(timeout=100)
    assert process.returncode == 3, err
    assert len({line.partition("] ")[2] for line in out.splitlines()}) == 1
    nothing_is_left(tmp_path)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_ended_early_it_ends_everything(tmp_path: Path, number: signal.Signals, code: int) -> None:
    process = submit(tmp_path, "--placement", "any", "--", "sh", "-c", f"echo on; sleep 3600; : {tmp_path}")
    assert process.stdout is not None
    assert process.stdout.readline() == "on\n"
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert "Traceback" not in err
    nothing_is_left(tmp_path)


# They take so long to answer that the agent is online before.
SLOW_UV = """\
#!/bin/sh
[ "$1" = --version ] && { sleep 1; echo uv 0.9.0; exit; }
for last; do :; done
exec python3 -m venv --without-pip "$last"
"""
SLOW_PODMAN = "#!/bin/sh\nsleep 1; echo no storage >&2; exit 125\n"


@pytest.mark.parametrize(
    ("program", "text", "field", "code", "said"),
    [
        ("uv", SLOW_UV, "python: '3.11'", 0, ""),
        ("podman", SLOW_PODMAN, "image: x", 73, "podman is there but does not work: no storage"),
    ],
)
def test_what_nodes_run_in_is_waited_for(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, program: str, text: str, field: str, code: int, said: str
) -> None:
    folder = tmp_path_factory.mktemp("programs")
    (folder / program).write_text(text)
    (folder / program).chmod(0o755)
    (folder / "job.yml").write_text(f"type: task\n{field}\ncommands: ['true']\n")
    process = submit(tmp_path, str(folder / "job.yml"), path=str(folder))
    _, err = process.communicate(timeout=100)
    assert (process.returncode, said in err) == (code, True), err
    nothing_is_left(tmp_path)
