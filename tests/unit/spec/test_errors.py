"""What is said about a wrong task file: place, what, why, way out; all at once; never a traceback."""

from __future__ import annotations

from pathlib import Path

import pytest

from coordinator.spec.problems import SpecError
from coordinator.spec.task import Options, load_task, task_from_command
from coordinator.spec.unsupported import DSTACK_FIELDS

pytestmark = pytest.mark.timeout(30)


def problems(tmp_path: Path, content: str | bytes, options: Options | None = None) -> list[str]:
    file = tmp_path / "job.yml"
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(SpecError) as caught:
        load_task(file, options or Options(), {})
    lines = str(caught.value).splitlines()
    assert len(lines) == len(caught.value.problems)
    return [line.replace(f"{tmp_path}/", "") for line in lines]


def test_several_problems_are_told_at_once_in_reading_order(tmp_path: Path) -> None:
    body = (
        "type: task\ncomands: [x]\ndocker: foo\nresources:\n  gpus: 3\n  memory: 16QB\nenv:\n- A=1\n- A=2\nnodes: 0\n"
    )
    assert problems(tmp_path, body, Options(cpus="x")) == [
        "job.yml:1: commands are missing; a task needs something to run; add 'commands:' and a list",
        "job.yml:2: unknown field 'comands'; a task has no such field; did you mean 'commands'?",
        "job.yml:3: field 'docker' is not supported yet; name an 'image', or run commands on the host itself;"
        " remove the field",
        "job.yml:5: unknown field 'gpus'; resources has no such field; did you mean 'gpu'?",
        "job.yml:6: resources.memory: '16QB' is not a size; sizes are in MB, GB or TB; write for example 16GB",
        "job.yml:9: env A is given twice; keep one of them",
        "job.yml:10: nodes 0 can't be had; a job has 1 to 1000000 nodes; choose a number in between",
        "--cpus: 'x' is not a CPU architecture; x86 and arm are known; write for example arm:4..",
    ]


@pytest.mark.parametrize("name", sorted(DSTACK_FIELDS))
def test_every_field_that_dstack_knows_is_not_supported_yet(tmp_path: Path, name: str) -> None:
    (line,) = problems(tmp_path, f"type: task\ncommands: [x]\n{name}: 1\n")
    assert line.startswith(f"job.yml:3: field '{name}' is not supported yet; ")
    assert line.endswith("; remove the field")


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("", "job.yml: the file is empty; a task needs at least 'type: task' and 'commands'"),
        ("# nothing\n", "job.yml: the file is empty; a task needs at least 'type: task' and 'commands'"),
        ("- 1\n", "job.yml:1: the file is not a mapping; write fields as 'type: task', one a line"),
        ("hello", "job.yml:1: the file is not a mapping; write fields as 'type: task', one a line"),
        ("type: task\ntype: task\n", "job.yml:2: field 'type' is given twice, first in line 1; keep one of them"),
        ("env:\n  A: 1\n  A: 2\n", "job.yml:3: field 'A' is given twice, first in line 2; keep one of them"),
        ("resources:\n\tgpu: 1", "job.yml:2: a tab is used for indentation; YAML allows only spaces; replace the tab"),
        (
            "type: task\n---\ntype: task\n",
            "job.yml:2: a second document begins with '---'; a file holds one task; put the other into its own file",
        ),
        (
            "commands:\n- echo {a: b}: c\n",
            "job.yml:2: not valid YAML: a ':' where no field can be; quote text that holds ': ', or check indentation",
        ),
        ("a: [1,2\n", "job.yml:1: not valid YAML while parsing a flow sequence: expected ',' or ']'"),
        ("a: *x\n", "job.yml:1: not valid YAML: found undefined alias 'x'; text that begins with * needs quotes"),
        ("a: @x\n", "job.yml:1: not valid YAML: character '@' that cannot start any token; put the text in quotes"),
        ("a: !!python/object:os.system x\n", "job.yml:1: tag 'tag:yaml.org,2002:python/object:os.system' is not"),
        ("type: task\na: \x01\n", "job.yml:2: a character that YAML does not allow; is it the right file?"),
        (
            b"\x7fELF\x02\x01\x01\x00\xff\xfe",
            "job.yml:1: not text in UTF-8; a task file is YAML; is it the right file?",
        ),
        ("a: &a [*a]\n", "job.yml:1: values are nested more than 20 deep, aliases counted"),
        ("[" * 5000, "job.yml"),
        ("? [a]\n: b\n", "job.yml:1: a field's name must be plain text; write NAME: VALUE"),
        ("x" * 1_100_000, "job.yml: the file is larger than 1 MB; a task file is short text; is it the right file?"),
    ],
    ids=range(19),
)
def test_files_that_are_no_task(tmp_path: Path, content: str | bytes, line: str) -> None:
    (told,) = problems(tmp_path, content)
    assert told.startswith(line)


def test_an_alias_bomb_is_stopped(tmp_path: Path) -> None:
    levels = ["a0: &a0 [x,x,x,x,x,x,x,x,x,x]"]
    levels += [f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    (told,) = problems(tmp_path, "\n".join(levels))
    assert "values are more than 20000, aliases counted" in told


@pytest.mark.parametrize(
    ("body", "line"),
    [
        ("type: service", "job.yml:1: type 'service' is not supported yet; only tasks run here; write 'type: task'"),
        ("type: tusk", "job.yml:1: type 'tusk' is not known; only tasks run here; write 'type: task'"),
        ("commands: [x]", "job.yml:1: type is missing; write 'type: task' first"),
    ],
)
def test_types(tmp_path: Path, body: str, line: str) -> None:
    assert problems(tmp_path, body + "\n")[0] == line


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("commands: echo", "commands must be a list; write each command on its own line after '- '"),
        ("commands: []", "commands are missing; a task needs something to run; add 'commands:' and a list"),
        ("commands: ['']", "commands: a command is empty; remove it"),
        ("commands: [a: b]", "commands: a command is a mapping here; YAML reads 'text: text' as one; put the command"),
        (
            "commands: ['echo ${{ x }}']",
            "commands: the command uses '${{ x }}', which is not supported yet; known are",
        ),
        ("env: {A: '${{ secrets.x }}'}", "env A uses '${{ secrets.x }}', which is not supported yet"),
        (
            "env: [NOPE]",
            "env NOPE has no value here and is not set in your environment; export it, or write NOPE=VALUE",
        ),
        ("env: {A: }", "env A has no value; write A: '' for an empty one, or '- A' in a list for yours"),
        ("env: {A: [1]}", "this must be one text"),
        ("env: [2A=1]", "env '2A' is not a variable's name"),
        ("env: hello", "env must be a list or a mapping; write '- KEY=VALUE' or 'KEY: VALUE', one a line"),
        ("env: [{A: 1}]", "env has an item that is not text; in a list write '- KEY=VALUE', quoted if it holds ': '"),
        ("placement: clustr", "placement 'clustr' is not known; it is cluster or any; did you mean 'cluster'?"),
        ("stop_criteria: first", "stop_criteria 'first' is not known; it is all-done or master-done"),
        (
            "stop_signal: TERMM",
            "stop_signal: signal 'TERMM' is not known; signals are given by name; did you mean TERM?",
        ),
        ("stop_duration: off", "stop_duration: 'off' is not supported yet for stop_duration; a stop must end"),
        ("max_duration: 3y", "max_duration: '3y' is not a duration; write a number and a unit: 90s, 5m, 1h, 2d"),
        ("max_duration: 0", "max_duration: a max_duration of 0 would stop the job before it ran"),
        ("nodes: 1000001", "nodes 1000001 can't be had; a job has 1 to 1000000 nodes"),
        ("nodes: two", "nodes: 'two' is not a whole number; write for example 4"),
        ("name: My Job", "name 'My Job' can't be used; a name is 1 to 41 of a-z, 0-9 and -, and begins with a letter;"),
        ("name: j-12", "name 'j-12' can't be used; it looks like a job's id; choose another name"),
        ("user: 'a b'", "user 'a b' can't be used; it is NAME, UID or UID:GID; write for example ubuntu or 1000:1000"),
        ("user: 4294967295", "user '4294967295' can't be used; it is NAME, UID"),
        ("shell: zsh", "shell 'zsh' can't be used; it is sh, bash or an absolute path; write for example /bin/zsh"),
        (
            "working_dir: ~/data",
            "working_dir '~/data' begins with '~', which is not supported yet; write an",
        ),
        ("resources: 3", "resources must be a mapping; write 'field: value' lines, indented under it"),
        ("resources: {disk: {sized: 3}}", "resources.disk.size is missing; add it"),
        ("files: [nope.py]", "nope.py' does not exist; paths are relative to the task file; check the path"),
        (
            "files: [/etc/passwd]",
            "would lie outside the working directory, which is not supported yet; write /etc/passwd",
        ),
        ("files: ['x:~/x']", "would lie outside the working directory, which is not supported yet; write x:x"),
        ("files: [../x]", "files: '../x' would lie outside the working directory; write ../x:x"),
        ("files: ['a:b:c']", "files: 'a:b:c' has more than one ':'; write LOCAL:REMOTE"),
        ("files: [{a: b}]", "files has an item of an unknown form; write '- PATH' or '- LOCAL:REMOTE'"),
    ],
)
def test_single_fields(tmp_path: Path, body: str, text: str) -> None:
    commands = "" if body.startswith("commands") else "commands: [x]\n"
    told = problems(tmp_path, f"type: task\n{commands}{body}\n")
    assert text in told[0]
    assert told[0].startswith(f"job.yml:{3 if commands else 2}: ") or "are missing" in told[0]


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"nope\.yml: no such file; check the path"):
        load_task(tmp_path / "nope.yml", Options(), {})
    with pytest.raises(SpecError, match="can't be read: Is a directory; check the path and its permissions"):
        load_task(tmp_path, Options(), {})


def test_options_are_named_as_the_place() -> None:
    with pytest.raises(SpecError) as caught:
        task_from_command(("x", "a\0b"), Options(nodes="x", env=("1=2",), files=("nope",), max_duration="z"), {})
    assert {problem.place for problem in caught.value.problems} == {
        "--nodes", "--env", "--files", "--max-duration", "command line",
    }  # fmt: skip
