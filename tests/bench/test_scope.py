"""A scope of systemd's holds tasks to their limits on a kernel that has the controllers in version 2 of control groups.

Such a kernel is started as a process, User-Mode Linux, with the systemd of this machine as its first; by hand, for it
takes half a minute: `pytest -m bench tests/bench/test_scope.py`, after `apt-get install user-mode-linux`.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.multihost.bare import FILES
from tests.support import missing

pytestmark = [pytest.mark.bench, pytest.mark.timeout(240)]

_ROOT = Path(__file__).parents[2]
_MAKE = f"""{FILES}
umount dev/pts dev/shm 2>/dev/null; umount -l dev sys proc
rm -rf etc/systemd/system etc/systemd/user etc/fstab etc/init.d etc/rc?.d
mkdir -p etc/systemd/system/multi-user.target.wants srv/src
tr -d - </proc/sys/kernel/random/uuid >etc/machine-id
cp -r "$2/agent" "$2/protos/rallypoint" srv/src
cp "$2/tests/bench/in_scope.py" srv
cat >srv/try <<'end'
export PYTHONPATH=/srv/src
python3 /srv/in_scope.py /run/held >/srv/root
systemctl start user@4711
export XDG_RUNTIME_DIR=/run/user/4711
ann="setpriv --reuid=ann --regid=ann --clear-groups"
cd /srv/src
$ann python3 -m agent.spawner --held >/srv/visitor
unit="systemd-run --user --wait --pipe --quiet -E PYTHONPATH=/srv/src"
$ann $unit python3 /srv/in_scope.py /run/user/4711/held >/srv/ann
end
cat >etc/systemd/system/try.service <<'end'
[Service]
Type=oneshot
ExecStart=/bin/sh /srv/try
ExecStopPost=/bin/systemctl poweroff --force --force
end
ln -s ../try.service etc/systemd/system/multi-user.target.wants
cd /
TMPDIR=/dev/shm linux.uml mem=768M rootfstype=hostfs rootflags="$root" rw init=/usr/lib/systemd/systemd \
  systemd.unit=multi-user.target con=null ssl=null umid="rp$$" </dev/null >/dev/null
cp "$root"/srv/root "$root"/srv/visitor "$root"/srv/ann "$3"
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Any]:
    """What was said in there, by who said it: root's and a user's units without a delegated group, and a visitor."""
    if shutil.which("linux.uml") is None:
        missing("User-Mode Linux", "install it with: apt-get install user-mode-linux")
    if os.geteuid() != 0:
        missing("root", "run the tests as root to make the machine's file system")
    root, said = tmp_path_factory.mktemp("root"), tmp_path_factory.mktemp("said")
    space = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--uts", "--net"]
    command = [*space, "sh", "-c", _MAKE, "make", str(root), str(_ROOT), str(said)]
    subprocess.run(["timeout", "--signal=KILL", "200", *command], check=True)
    found: dict[str, Any] = {}
    for name in ("root", "visitor", "ann"):
        found[name] = {}
        for line in (said / name).read_text().splitlines():
            found[name] |= json.loads(line)
    return found


@pytest.mark.parametrize(("who", "place"), [("root", "/system.slice"), ("ann", "/user.slice/user-4711.slice")])
def test_tasks_are_held_in_a_scope(told: Mapping[str, Any], who: str, place: str) -> None:
    said = told[who]
    assert {name: by for name, (by, _) in said["held"]["limits"].items() if name != "shm"} == dict.fromkeys(
        ("memory", "cpu", "pids"), "cgroup v2"
    )
    group, cpu, pids = said["limits"]["output"].splitlines()
    assert group.startswith(f"0::{place}/")
    assert "/rallypoint-nodes-" in group
    assert (cpu, pids) == ("50000 100000", "20")
    assert said["eater"]["reason"] == "out of memory: limit 64 MB, peak 64 MB"
    assert "survived" not in said["bomb"]["output"]
    assert "fork" in said["bomb"]["output"]


def test_a_user_whose_systemd_ends_with_the_login_has_none(told: Mapping[str, Any]) -> None:
    assert "no scope of systemd's: it would end when the user logs out" in told["visitor"]["reason"]
