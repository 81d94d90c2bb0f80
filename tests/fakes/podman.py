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
driver = "{1}"
graphroot = "{0}/graph"
runroot = "{0}/run"
"""
# Each layer is kept once, not in every image above it: for large ones.
_OVERLAY = """\
[storage.options.overlay]
mount_program = "{0}"
"""


class Podman:
    """podman in ``directory``, in layers or not; ``environ`` is for whoever is to use the same."""

    def __init__(self, directory: Path, *, layers: bool = False) -> None:
        needed = ("podman", "runc", "busybox", *(["fuse-overlayfs"] if layers else []))
        if os.geteuid() != 0 or None in map(shutil.which, needed):
            packages = " ".join(needed).replace("busybox", "busybox-static")
            missing(f"{', '.join(needed)} as root", f"apt install {packages}, and run as root")
        directory.mkdir()
        (directory / "containers.conf").write_text(_CONTAINERS.format(directory))
        storage = _STORAGE.format(directory, "overlay" if layers else "vfs")
        storage += _OVERLAY.format(shutil.which("fuse-overlayfs")) if layers else ""
        (directory / "storage.conf").write_text(storage)
        self.directory = directory
        self.environ = {
            "CONTAINERS_CONF": str(directory / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(directory / "storage.conf"),
        }

    def __call__(self, *words: str, check: bool = True) -> str:
        """Run a command; its output."""
        return self.run(*words, check=check).stdout.strip()

    def run(self, *words: str, check: bool = True, timeout: float = 60.0) -> subprocess.CompletedProcess[str]:
        """Run a command; how it ended."""
        env = {**os.environ, **self.environ, "TMPDIR": str(self.directory)}
        command = ["podman", *words]
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=timeout, check=False)
        assert not check or done.returncode == 0, f"{' '.join(command)}: {done.stdout}{done.stderr}"
        return done

    def import_root(self, root: Path, image: str, *options: str) -> None:
        """Make an image of a file system."""
        archive = self.directory / "rootfs.tar"
        subprocess.run(["tar", "-C", root, "-cf", archive, "."], check=True, timeout=60)
        self("import", *options, str(archive), image)
        archive.unlink()

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
        self.import_root(root, IMAGE, "--change", "ENV=PATH=/bin", "--change", "ENV=OF_IMAGE=yes")

    def containers(self) -> list[str]:
        """The names of all containers, also of those that do not run."""
        return self("ps", "--all", "--format", "{{.Names}}").split()

    def close(self) -> None:
        """Remove everything."""
        self("rm", "--all", "--force", "--time", "0", check=False)
        self("rmi", "--all", "--force", check=False)
        for place in ("graph/overlay", "graph"):
            subprocess.run(["umount", str(self.directory / place)], capture_output=True, timeout=10, check=False)
        shutil.rmtree(self.directory, ignore_errors=True)
