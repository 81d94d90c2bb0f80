"""A host with nothing but Debian's Python: a file system, users and processes of its own, in a namespace of a site."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.multihost.net import Host
from tests.support import eventually, missing

# The machine's /usr to read, without what this project's own set-up put beside Debian's Python (/usr/local, packages,
# pip and what `venv` would install it from, programs for containers); all else is empty and belongs to the host alone.
FILES = """
set -e
root=$1
mount --make-rprivate /
mount -t tmpfs -o mode=755 none "$root"
cd "$root"
mkdir -p usr etc proc sys dev run root opt srv home/ann var/lib var/tmp var/log tmp
chmod 1777 tmp var/tmp; chmod 700 root home/ann
for name in bin sbin lib lib64; do [ -L "/$name" ] && cp -P "/$name" .; done
mount --bind /usr usr; mount -o remount,bind,ro usr
for hidden in usr/local usr/lib/python3/dist-packages usr/lib/python3.*/ensurepip usr/share/python-wheels; do
  [ -d "$hidden" ] && mount -t tmpfs -o mode=755 none "$hidden"
done
for program in podman docker uv; do
  [ -e "usr/bin/$program" ] && mount --bind /dev/null "usr/bin/$program"
done
mkdir -p usr/local/bin
cp -a /etc/. etc/
rm -rf etc/pip.conf etc/resolv.conf etc/hosts
printf '127.0.0.1 localhost\\n' >etc/hosts
mount -t proc none proc
mount --rbind /dev dev
mount --bind /sys sys; mount -o remount,bind,ro sys
hostname bare
printf 'ann:x:4711:4711::/home/ann:/bin/sh\\n' >>etc/passwd
printf 'ann:x:4711:\\n' >>etc/group
printf 'ann:*:20000:0:99999:7:::\\n' >>etc/shadow
chown 4711:4711 home/ann
"""
_IDLE = """
echo ready
# The first process of a machine waits for orphans.
sleep infinity &
while :; do wait; done
"""
_LOOK = "ps -eo pid,args --no-headers"
_SPACES = (("mount", "mnt"), ("pid", "pid"), ("net", "net"), ("uts", "uts"))
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Mounted by the test or the kernel, or what running programs write and leave anywhere.
_NOT_LISTED = ("/proc", "/sys", "/dev", "/usr", "/run")
# Written, and kept as backups, by useradd and userdel themselves; what they say is compared instead.
_ACCOUNTS = ("passwd", "group", "shadow", "gshadow", "subuid", "subgid", ".pwd.lock")
_BY_USERADD = tuple(f"/etc/{name}" for name in _ACCOUNTS)


@dataclass(slots=True)
class Done:
    """How a command ended, and what it said."""

    code: int
    out: str
    err: str


@dataclass(slots=True)
class Bare:
    """The host. Its processes end with it."""

    root: Path
    holder: int

    def command(self, *words: str, user: str = "root", env: Mapping[str, str] | None = None) -> list[str]:
        """The command line that runs ``words`` there as a login of ``user`` would."""
        home = "/root" if user == "root" else f"/home/{user}"
        space = [f"--{kind}=/proc/{self.holder}/ns/{name}" for kind, name in _SPACES]
        variables = {"PATH": _PATH, "HOME": home, "LANG": "C.UTF-8", "LOGNAME": user, **(env or {})}
        login = [] if user == "root" else ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"]
        enter = ["nsenter", *space, "chroot", str(self.root)]
        return [*enter, "env", "-i", "-C", home, *(f"{k}={v}" for k, v in variables.items()), *login, *words]

    def run(
        self,
        *words: str,
        user: str = "root",
        stdin: str = "",
        env: Mapping[str, str] | None = None,
        seconds: float = 90,
    ) -> Done:
        """Run it to its end."""
        command = self.command(*words, user=user, env=env)
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=seconds, check=False)
        return Done(done.returncode, done.stdout, done.stderr)

    def listing(self) -> list[str]:
        """Every file there that is the host's own, with owner, mode, and the target of a link; accounts too."""
        beside = [word for name in _NOT_LISTED for word in ("-path", name, "-prune", "-o")]
        # Python makes these beside what it loads, in folders that are listed themselves.
        beside += ["-name", "__pycache__", "-prune", "-o"]
        files = self.run("find", "/", "/usr/local", *beside, "-printf", "%p %u:%g %m %y %l\\n").out.splitlines()
        accounts = self.run("cat", "/etc/passwd", "/etc/group").out.splitlines()
        return sorted({line for line in [*files, *accounts] if not line.startswith(_BY_USERADD)})

    def running(self) -> dict[str, str]:
        """The command lines of what runs there, by the host's own process ids; not the first, which is no program."""
        found = dict(line.split(None, 1) for line in self.run(*_LOOK.split()).out.splitlines())
        return {pid: words for pid, words in found.items() if pid != "1" and words not in (_LOOK, "sleep infinity")}

    def processes(self) -> list[str]:
        """The command lines alone."""
        return list(self.running().values())


@contextmanager
def bare_host(host: Host, folder: Path, command: Sequence[str] = (), root: Path | None = None) -> Iterator[Bare]:
    """A bare machine at the place of ``host``.

    ``command`` becomes what starts its first process and then says ``ready``, ``root`` what that one has for ``/``.
    """
    for program in ("nsenter", "unshare", "setpriv"):
        if shutil.which(program) is None:
            missing(f"the program {program}", "install it with: apt-get install util-linux")
    _require_python()
    folder.mkdir(parents=True, exist_ok=True)
    idle = ("unshare", "--mount", "--uts", "--pid", "--fork", "--kill-child", "sh", "-c", FILES + _IDLE, "make")
    space = ["nsenter", f"--net=/run/netns/{host.namespace}"]
    with subprocess.Popen([*space, *(command or (*idle, str(folder)))], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            if process.stdout.readline() != "ready\n":
                pytest.fail("the bare host could not be made")
            yield Bare(root or folder, _child(process.pid))
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()


def _require_python() -> None:
    """Packages come from the environment that the tests run in, so the system's Python must be of its version."""
    ours = f"{sys.version_info.major}.{sys.version_info.minor}"
    if not Path(f"/usr/bin/python{ours}").exists() or not Path("/usr/bin/python3").resolve().name.endswith(ours):
        missing(f"a system Python {ours}, as the tests' own", f"install the package python{ours}, or run them with it")


def _child(pid: int) -> int:
    """The one process that this one waits for: `unshare --fork` stays as the parent of the namespace's first."""
    children = Path(f"/proc/{pid}/task/{pid}/children")
    return int(eventually(lambda: children.read_text().split(), what="the host's first process")[0])
