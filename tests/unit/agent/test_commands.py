"""A task's commands as one program: each is a unit, whatever is in it, and the first that fails ends the node."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from agent import environ
from agent.core.model import AllocationId, Desired, Spec, Wanted

pytestmark = pytest.mark.timeout(30)

NODE = Desired(AllocationId("j-1.0.1"), "j-1", "job", 0, 1, Wanted.RUNNING, Spec())
HEREDOC = "cat <<EOF\ninside\nEOF"


def program(*commands: str, shell: str = "") -> list[str]:
    return environ.command(replace(NODE, spec=Spec(commands=commands, shell=shell)), "/usr/bin:/bin")


@pytest.fixture(params=["sh", "bash"])
def shell(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize(
    ("commands", "said", "code"),
    [
        ((HEREDOC, "echo after"), "inside\nafter\n", 0),
        ((HEREDOC + "\n", "exit 3"), "inside\n", 3),
        (("echo one  # a comment", "echo two"), "one\ntwo\n", 0),
        (("# only a comment", "echo two # and another"), "two\n", 0),
        (("cd /usr", "export A=b", "echo $PWD $A"), "/usr b\n", 0),
        (("if true; then\n  echo yes\nfi\n", "echo after"), "yes\nafter\n", 0),
        (("(exit 7) &", "wait $! || echo code $?"), "code 7\n", 0),
        (("set -e\nfalse\necho not reached", "echo not reached"), "", 1),
        (("set -e", "false\necho not reached", "true"), "", 1),
        (("f() { return 5; }", "f", "echo not reached"), "", 5),
        (("true && false", "echo not reached"), "", 1),
        (("false; true", 'echo "it\'s $((1 + 1))"'), "it's 2\n", 0),
    ],
)
def test_each_command_is_a_unit(shell: str, commands: tuple[str, ...], said: str, code: int, tmp_path: Path) -> None:
    done = subprocess.run(program(*commands, shell=shell), capture_output=True, text=True, cwd=tmp_path, check=False)
    assert (done.stdout, done.returncode) == (said, code), done.stderr


def test_one_command_is_given_to_its_shell_as_it_is() -> None:
    assert program("print(1)\n", shell="/usr/bin/python3") == ["/usr/bin/python3", "-c", "print(1)\n"]


def test_bash_is_taken_where_there_is_one(tmp_path: Path) -> None:
    here = tmp_path / "bin"
    here.mkdir()
    assert environ.shell_of(str(here), bash="/nowhere/bash") == "sh"
    assert environ.shell_of(str(here), bash="/bin/sh") == "/bin/sh"
    (here / "bash").symlink_to(shutil.which("sh") or "/bin/sh")
    assert environ.shell_of(str(here), bash="/nowhere/bash") == "bash"
    assert program("true", shell="sh")[0] == "sh"


def test_what_is_written_for_bash_runs() -> None:
    commands = ("set -o pipefail", "a=(1 2 3); [[ ${#a[@]} == 3 ]] && echo three", "false | true")
    done = subprocess.run(program(*commands), capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("three\n", 1), done.stderr
