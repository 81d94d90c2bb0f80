"""What a task runs in: images, who fetches them, versions of Python."""

from __future__ import annotations

from pathlib import Path

import pytest

from coordinator.core.spec import RegistryAuth
from coordinator.rpc.convert import HIDDEN, job_to_proto
from coordinator.snapshots import job_view
from coordinator.spec.task import Options, load_task
from coordinator.web.spec_shape import spec_shape
from tests.fakes.world import World
from tests.unit.spec.support import problems_of, spec_of

AUTH = "image: reg.example.org/a\nregistry_auth:\n  username: me\n  password: "


def test_an_image_needs_no_commands(tmp_path: Path) -> None:
    file = tmp_path / "job.yml"
    file.write_text("type: task\nimage: alpine\nentrypoint: /bin/echo 'two words'\nprivileged: true\n")
    spec = load_task(file, Options(), {}).spec
    assert (spec.image, spec.commands, spec.entrypoint, spec.privileged) == (
        "alpine", (), "/bin/echo 'two words'", True
    )  # fmt: skip


@pytest.mark.parametrize(
    ("written", "env", "password"),
    [
        ("plain", "", "plain"),
        ("a${{ env.CALLERS }}b", "", "afrom caller$${{b"),
        ("${{ env.OWN }}", "env: [OWN=of the task]\n", "of the task"),
        ("${{env.CALLERS}}", "env: [CALLERS]\n", "from caller$${{"),
    ],
)
def test_a_password_may_come_from_the_environment(tmp_path: Path, written: str, env: str, password: str) -> None:
    spec = spec_of(tmp_path, f"{env}{AUTH}{written!r}\n", CALLERS="from caller$${{")
    assert spec.registry_auth == RegistryAuth("me", password)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (f"{AUTH}${{{{ env.GONE }}}}", "job.yml:4: '${{ env.GONE }}' is not set in your environment; export GONE"),
        (f"{AUTH}${{{{ secrets.GONE }}}}", "job.yml:4: '${{ secrets.GONE }}' is not supported yet; write ${{ env.GONE"),
        (f"{AUTH}''", "job.yml:4: registry_auth: its password is empty, too long, or holds a line break"),
        ("image: -v", "job.yml:3: image '-v' is no image's name"),
        ('image: alpine\nentrypoint: "\'a"', "job.yml:4: entrypoint \"'a\" can't be split into words"),
        ("entrypoint: /bin/x", "job.yml:3: entrypoint is for tasks with an 'image'; write its program into 'commands'"),
        ("privileged: true", "job.yml:3: privileged is for tasks with an 'image'"),
        ("image: alpine\npython: '3.12'", "job.yml:4: image and python exclude each other"),
        ("python: three", "job.yml:3: python 'three' is not a version; write for example 3.12"),
        ("docker: true", "job.yml:3: field 'docker' is not supported yet; name an 'image'"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, body: str, said: str) -> None:
    (problem,) = problems_of(tmp_path, body)
    assert problem.startswith(said)


def test_nobody_who_looks_at_a_job_is_shown_its_password(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, f"{AUTH}PASS-WORD")
    world = World()
    job = world.submit(spec)
    shown = job_to_proto(job_view(world.state, job))
    assert shown.spec.registry_auth.username == "me"
    assert shown.spec.registry_auth.password == HIDDEN
    for text in (repr(spec), repr(job), str(shown), str(spec_shape(spec))):
        assert "PASS-WORD" not in text


def test_a_problem_elsewhere_does_not_tell_the_password(tmp_path: Path) -> None:
    problems = problems_of(tmp_path, f"{AUTH}[PASS-WORD]\n  more: PASS-WORD\n")
    assert problems
    assert "PASS-WORD" not in str(problems)
