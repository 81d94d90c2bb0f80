"""The worker process by itself: its JSON lines, its end, and how little it is."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import pytest

from agent.hardware import nvml_worker
from tests.fakes.nvml import eight_h100, h100, hanging

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.unit.agent.hardware.conftest import Rig

pytestmark = pytest.mark.timeout(60)


class Talk:
    """A worker at the end of two pipes."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process

    @property
    def input(self) -> IO[bytes]:
        assert self.process.stdin is not None
        return self.process.stdin

    def say(self, line: bytes) -> None:
        self.input.write(line + b"\n")
        self.input.flush()

    def hear(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        said = json.loads(self.process.stdout.readline())
        assert isinstance(said, dict)
        return said

    def read(self, request_id: int) -> list[dict[str, Any]]:
        self.say(json.dumps({"id": request_id, "limit": 30}).encode())
        said = [self.hear()]
        while not {"done", "error"} & said[-1].keys():
            said.append(self.hear())
        return said


@pytest.fixture
def talk(rig: Rig) -> Iterator[Talk]:
    rig.gpus(eight_h100())
    command = [sys.executable, "-P", nvml_worker.__file__]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=rig.env) as process:
        yield Talk(process)
        process.kill()


def test_an_answer_is_one_line_for_the_driver_one_a_gpu_and_an_end(talk: Talk) -> None:
    said = talk.read(7)
    assert [line["id"] for line in said] == [7] * 10
    assert said[0]["driver"]["count"] == 8
    assert [line["gpu"]["index"] for line in said[1:-1]] == list(range(8))
    assert said[-1] == {"id": 7, "done": True}


@pytest.mark.parametrize(
    "line",
    [b"", b"nonsense", b"\xff\xfe\x00", b"[]", b"7", b"null", b"{}", b'{"id": 1, "skip": 5}', b'{"id":1,"limit":"x"}'],
)
def test_a_line_that_is_no_request_is_answered_and_survived(talk: Talk, line: bytes) -> None:
    talk.say(line)
    assert "request not understood" in talk.hear()["error"]["text"]
    assert talk.read(2)[-1] == {"id": 2, "done": True}


def test_a_name_that_is_no_text_stays_unknown_and_names_of_any_letters_pass(talk: Talk, rig: Rig) -> None:
    rig.gpus([])
    odd = b'gpu.0.name=\xff\xfe\ngpu.0.handle=yes\ngpu.1.name=\xe2\x80\xa8 "\\ \xc3\xa9\ngpu.1.handle=yes\n'
    rig.scenario.write_bytes(b"init=yes\ncount=2\n" + odd)
    said = talk.read(1)
    assert [line["gpu"]["name"] for line in said[1:-1]] == [None, '\u2028 "\\ é']


def test_it_ends_when_its_input_does(talk: Talk) -> None:
    talk.read(1)
    talk.input.close()
    assert talk.process.wait(timeout=20) == 0


def test_the_kernel_ends_it_when_it_hangs_and_nobody_is_left_to_do_so(talk: Talk, rig: Rig) -> None:
    rig.gpus([hanging(h100(0))])
    # A limit that passed long ago, so that the test need not wait for it.
    talk.say(json.dumps({"id": 1, "limit": 0.2 - nvml_worker.ORPHAN_SECONDS}).encode())
    assert talk.process.wait(timeout=20) == -signal.SIGALRM


def test_it_is_small_and_loads_nothing_of_ours(talk: Talk) -> None:
    talk.read(1)
    proc = Path(f"/proc/{talk.process.pid}")
    pss = next(line for line in (proc / "smaps_rollup").read_text().splitlines() if line.startswith("Pss:"))
    assert int(pss.split()[1]) < 20_000, pss
    mapped = (proc / "maps").read_text()
    assert "libnvidia-ml.so.1" in mapped
    assert "cygrpc" not in mapped
    assert "_psutil" not in mapped
