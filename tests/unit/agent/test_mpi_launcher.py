"""What MPI starts in place of ssh, run as who a node is: the agent's own Python may be closed to them."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.other_user import TASK, open_folder
from tests.support import missing

pytestmark = pytest.mark.timeout(30)

_WRITE = """
import sys
from pathlib import Path
from agent.mpi import write_launcher
write_launcher(Path(sys.argv[1]), for_others=True)
"""


def test_it_finds_a_python_where_the_agents_own_is_closed() -> None:
    if os.geteuid() != 0:
        missing("the right to change users", "run the tests as root")
    with open_folder("launcher-") as folder:
        for name, mode in (("closed", 0o700), ("bin", 0o711)):
            (folder / name).mkdir(mode=mode)
        own = folder / "closed" / "python"
        own.symlink_to(sys.executable)
        launcher = folder / "bin" / "rallypoint-mpi-launch"
        subprocess.run([own, "-c", _WRITE, launcher], env={"PYTHONPATH": ":".join(sys.path)}, check=True)

        def launch(**env: str) -> subprocess.CompletedProcess[str]:
            who = {"user": TASK, "group": TASK, "extra_groups": []}
            return subprocess.run(
                [launcher, "host", "true"], **who, env=env, capture_output=True, text=True, check=False
            )

        done = launch(PATH="/usr/bin:/bin")
        assert (done.returncode, done.stderr) == (
            255,
            "rallypoint: RALLYPOINT_LAUNCH_TICKET is not set: not inside a node of a cluster job\n",
        )
