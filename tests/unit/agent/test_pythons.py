"""`python:` – an environment for each node, by whatever answers to the name of uv."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.fakes.agent_coordinator import FakeCoordinator, any_node, coordinator, enrol, pb
from tests.fakes.agent_process import agent
from tests.support import eventually

pytestmark = pytest.mark.timeout(60)

_UV = r"""#!/bin/sh
[ "$1" = --version ] && { echo "uv 0.9.1 (abc)"; exit 0; }
[ "$1 $6" = "venv 3.12" ] || {
  printf 'error: No interpreter found for Python %s\n' "$6" >&2
  # As it was called at first, and as it is today.
  printf '  Caused by: dns error\n  cause: no such host\nhint: another\n' >&2
  exit 2
}
# As uv does since 0.8.
[ -e "$7" ] && { printf 'error: Failed to create virtual environment\n  cause: it is there already\n' >&2; exit 2; }
mkdir -p "$7/bin"
if [ -e "$UV_TEST_GATE" ]; then
  : >"$UV_TEST_GATE.reached"
  while [ -e "$UV_TEST_GATE" ]; do sleep 0.05; done
  exit 1
fi
printf '#!/bin/sh\necho the one of %s, with %s\n' "$6" "$UV_PYTHON_INSTALL_DIR" >"$7/bin/python"
chmod +x "$7/bin/python"
"""


def has_uv(fake: FakeCoordinator) -> bool:
    seen = [report.hardware for report in fake.reports] + [hello.hardware for hello in fake.opened]
    return any(hardware.uv == "0.9.1" for hardware in seen)


def test_each_node_has_its_own_in_front_of_its_path(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "uv").write_text(_UV)
    (tmp_path / "bin" / "uv").chmod(0o755)

    async def scenario() -> None:
        async with coordinator(tmp_path / "coordinator") as fake:
            enrol(fake.authority, tmp_path / "agent", "h-1", fake.address)
            async with agent(tmp_path / "agent", PATH=f"{tmp_path / 'bin'}:/usr/bin:/bin") as process:
                await fake.until(lambda: has_uv(fake), "uv in the report of the hardware")
                fake.want(
                    any_node("j.0.1", python="3.12", commands=["python", 'echo "$VIRTUAL_ENV"']),
                    any_node("k.0.1", python="3.99", commands=["python"]),
                )
                ended = await fake.ended("j.0.1")
                assert ended.exit_code == 0, ended.reason
                state = process.state_dir
                assert fake.logs["j.0.1"].decode() == (
                    f"the one of 3.12, with {state}/pythons\n{state}/nodes/j.0.1/python\n"
                )
                assert not (state / "nodes" / "j.0.1").exists()
                ended = await fake.ended("k.0.1")
                assert ended.cause == pb.END_CAUSE_START_FAILED
                said = "uv could not make an environment: No interpreter found for Python 3.99"
                assert ended.reason == f"python 3.99: {said}: dns error: no such host"

    asyncio.run(scenario())


def test_one_that_a_killed_agent_left_half_made_is_made_again(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "uv").write_text(_UV)
    (tmp_path / "bin" / "uv").chmod(0o755)
    gate = tmp_path / "gate"
    gate.touch()
    environ = {"PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin", "UV_TEST_GATE": str(gate)}

    async def scenario() -> None:
        async with coordinator(tmp_path / "coordinator") as fake:
            enrol(fake.authority, tmp_path / "agent", "h-1", fake.address)
            async with agent(tmp_path / "agent", **environ) as process:
                fake.want(any_node("j.0.1", python="3.12", commands=["python"]))
                await asyncio.to_thread(eventually, Path(f"{gate}.reached").exists, what="uv at work")
                await process.kill()
                gate.unlink()
                await process.start(**environ)
                ended = await fake.ended("j.0.1")
                assert (ended.exit_code, ended.reason) == (0, "")

    asyncio.run(scenario())
