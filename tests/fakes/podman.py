"""Real podman, with storage of its own in a directory, so that nothing of this machine is touched."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from tests.support import missing

IMAGE = "localhost/rallypoint-test:1"
_TOOLS = "sh sleep cat echo env true id ls kill tail".split()

_CONTAINERS = """\
[containers]
default_ulimits = []
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "none"
# By itself podman shares these between all storages of a user: one machine runs many tests.
tmp_dir = "{0}/libpod"
lock_type = "file"
"""
_STORAGE = """\
[storage]
driver = "vfs"
graphroot = "{0}/graph"
runroot = "{0}/run"
"""


class Podman:
    """podman in ``directory``; ``environ`` is for whoever is to use the same."""

    def __init__(self, directory: Path) -> None:
        if shutil.which("podman") is None or shutil.which("busybox") is None or os.geteuid() != 0:
            missing("podman as root, runc and busybox", "apt install podman runc busybox-static, and run as root")
        directory.mkdir()
        (directory / "containers.conf").write_text(_CONTAINERS.format(directory))
        (directory / "storage.conf").write_text(_STORAGE.format(directory))
        self.directory = directory
        self.environ = {
            "CONTAINERS_CONF": str(directory / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(directory / "storage.conf"),
        }

    def __call__(self, *words: str, check: bool = True) -> str:
        """Run a command; its output."""
        env = {**os.environ, **self.environ}
        done = subprocess.run(["podman", *words], env=env, capture_output=True, text=True, timeout=60, check=False)
        assert not check or done.returncode == 0, done.stderr
        return done.stdout.strip()

    def make_image(self) -> None:
        """An image of busybox alone, with the users root and app (777)."""
        root = self.directory / "rootfs"
        (root / "bin").mkdir(parents=True)
        (root / "tmp").mkdir()
        (root / "etc").mkdir()
        shutil.copy(shutil.which("busybox") or "", root / "bin" / "busybox")
        for tool in _TOOLS:
            (root / "bin" / tool).symlink_to("busybox")
        (root / "etc" / "passwd").write_text("root:x:0:0::/:/bin/sh\napp:x:777:777::/:/bin/sh\n")
        archive = self.directory / "rootfs.tar"
        subprocess.run(["tar", "-C", root, "-cf", archive, "."], check=True, timeout=30)
        self("import", "--change", "ENV=PATH=/bin", "--change", "ENV=OF_IMAGE=yes", str(archive), IMAGE)

    def containers(self) -> list[str]:
        """The names of all containers, also of those that do not run."""
        return self("ps", "--all", "--format", "{{.Names}}").split()

    def close(self) -> None:
        """Remove everything."""
        self("rm", "--all", "--force", "--time", "0", check=False)
        self("rmi", "--all", "--force", check=False)
        subprocess.run(["umount", str(self.directory / "graph")], capture_output=True, timeout=10, check=False)
        shutil.rmtree(self.directory, ignore_errors=True)
