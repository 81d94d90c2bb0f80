"""A machine to install on and to compare: this one's files, with everything that is written to them kept apart."""

from __future__ import annotations

import hashlib
import os
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support import eventually, missing

# An overlay over all of this machine, in a mount namespace of its own; /proc, /sys and /dev are this machine's.
_ENTER = """
set -e
mount -t tmpfs none "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/root"
# Other tests may change this machine's users meanwhile: those of the new one are its own from the first moment.
for each in $2; do [ ! -e "$1/root/etc/$each" ] || touch "$1/root/etc/$each"; done
for each in proc sys dev; do mount --rbind "/$each" "$1/root/$each"; done
exec chroot "$1/root" sleep infinity
"""
_USERS = ("passwd", "shadow", "group", "gshadow", "subuid", "subgid")
# Copies of what was before, and a lock: those who change the list of users leave them.
_NOT_OURS = (
    "/etc/passwd-",
    "/etc/shadow-",
    "/etc/group-",
    "/etc/gshadow-",
    "/etc/subuid-",
    "/etc/subgid-",
    "/etc/.pwd.lock",
)


@dataclass(frozen=True, slots=True)
class Machine:
    """``holder`` is the process that keeps it; ``folder`` is where it lies, as it sees it from outside.

    ``before`` says of the files that are its own from the first moment what they were then.
    """

    holder: int
    folder: Path
    before: dict[str, str]

    def command(self, *words: str) -> list[str]:
        """The command line of ``words`` on the machine."""
        return ["nsenter", "--target", str(self.holder), "--mount", "--root", *words]

    def run(self, *words: str, env: dict[str, str] | None = None, given: str = "") -> subprocess.CompletedProcess[str]:
        """Run ``words`` there to their end."""
        return subprocess.run(
            self.command(*words), env=env, input=given, capture_output=True, text=True, timeout=120, check=False
        )

    def changes(self) -> dict[str, str]:
        """What differs from the machine beneath, and how: nothing, unless something was written and is still there."""
        listed = self._outside("find", f"{self.folder}/upper", "-mindepth", "1", "-printf", "/%P\\n")
        found = {}
        for path in listed.splitlines():
            here = _said(Path(f"/proc/{self.holder}/root{path}"))
            beneath = self.before[path] if path in self.before else _said(Path(path))
            if here != beneath and path not in _NOT_OURS:
                found[path] = f"{beneath or 'nothing'} -> {here or 'nothing'}"
        return found

    def _outside(self, *words: str) -> str:
        command = ["nsenter", "--target", str(self.holder), "--mount", *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout

    def processes(self) -> list[str]:
        """The command lines of all processes there, but for the holder."""
        own = os.stat(f"/proc/{self.holder}/ns/mnt").st_ino
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            try:
                if os.stat(path / "ns/mnt").st_ino == own and path.name != str(self.holder):
                    found.append((path / "cmdline").read_bytes().replace(b"\0", b" ").decode())
            except OSError:
                continue
        return sorted(line for line in found if line)


def _said(path: Path) -> str:
    """Type, mode, owner and content of what is at ``path``; empty: nothing is."""
    try:
        about = path.lstat()
    except OSError:
        return ""
    content = hashlib.sha256(path.read_bytes()).hexdigest()[:16] if stat.S_ISREG(about.st_mode) else ""
    return f"{about.st_mode:o} {about.st_uid}:{about.st_gid} {content}".strip()


@contextmanager
def machine(folder: Path) -> Iterator[Machine]:
    """A machine, gone afterwards; whatever is left running on it is not."""
    if os.geteuid() != 0:
        missing("root, for a mount namespace", "run the tests as root")
    folder.mkdir()
    command = [
        "unshare",
        "--mount",
        "--propagation",
        "private",
        "sh",
        "-c",
        _ENTER,
        "sh",
        str(folder),
        " ".join(_USERS),
    ]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE) as holder:
        try:
            root = f"/proc/{holder.pid}/root"
            eventually(lambda: holder.poll() is not None or os.readlink(root) != "/", what="the machine")
            if holder.poll() is not None:
                assert holder.stderr is not None
                missing(f"an overlay file system ({holder.stderr.read().decode().strip()})", "allow it to root")
            before = {f"/etc/{name}": _said(Path(f"{root}/etc/{name}")) for name in _USERS}
            yield Machine(holder.pid, folder, before)
        finally:
            holder.kill()
