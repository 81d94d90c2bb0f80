"""Hosts on one machine: network namespaces in private networks, each behind a gateway that hides it (NAT).

    with Site.open({"a": Lan("10.7.1", 4), "b": Lan("10.7.2", 2)}) as site:
        subprocess.run([*site.hosts["a1"].enter, "program"])

A host reaches its own network and the coordinator at ``HUB_ADDRESS``, and nothing else: there is no route between
networks. Two networks may have the same addresses, as rented machines do. All of it goes when the block ends; what a
killed run left behind goes when the next one starts.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.multihost.processes import lives
from tests.support import eventually, missing

HUB_ADDRESS = "198.51.100.1"
_PREFIX = "rp"
_NAMES = Path("/run/netns")

# On a host there is no ssh to be found, and the machine's own name is 127.0.1.1, as on any Debian. Other names are
# refused at once (nobody serves DNS on the loop-back), not after a time-out.
_SETTLE = """
hostname "$1"
mount --bind "$2" /etc/hosts
mount --bind /dev/null "$(readlink -f /etc/resolv.conf)"
for program in ssh slogin rsh sshd; do
  path=$(command -v $program) && mount --bind /dev/null "$(readlink -f "$path")"
done
shift 2
exec "$@"
"""


@dataclass(frozen=True, slots=True)
class Lan:
    """A private network ``subnet``.0/24 of ``size`` hosts, from .11 on.

    ``delay``: seconds that a packet takes to the hub, and as many back.
    """

    subnet: str
    size: int
    delay: float = 0.0


@dataclass(frozen=True, slots=True)
class Host:
    """A host of a site. ``enter`` is put before a command to run it there, as the same process."""

    name: str
    network: str
    address: str
    namespace: str
    enter: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Site:
    """Networks of hosts, and the hub that the coordinator runs on. Faults between the two: ``tests.multihost.faults``.

    ``gateways`` are the networks' namespaces: an interface ``lan``, a bridge, and ``wan``, to ``to-NAME`` on the hub.
    """

    hosts: Mapping[str, Host]
    hub: tuple[str, ...]
    hub_namespace: str
    gateways: Mapping[str, str]

    @classmethod
    @contextmanager
    def open(cls, lans: Mapping[str, Lan], folder: Path) -> Iterator[Site]:
        """Make the networks; names of networks become the hosts' (``a1``, ``a2``, …). ``folder`` gets small files."""
        _require()
        _remove_leftovers()
        prefix = _free_prefix()
        with ExitStack() as relays:
            # Relays end with the processes in the namespaces; after that they are waited for.
            try:
                yield _build(prefix, lans, folder, relays)
            finally:
                _remove(prefix)

    @contextmanager
    def cut(self, source: str, target: str) -> Iterator[None]:
        """Let nothing from ``source`` to ``target`` through, silently; the other direction stays as it is."""
        rules = "add table ip cut\nadd chain ip cut out { type filter hook output priority 0; policy accept; }\n"
        # Only connections that begin here: answers to what the target begins still pass.
        rules += f"add rule ip cut out ip daddr {self.hosts[target].address} ct state new drop\n"
        inside = self.hosts[source].namespace
        nft(inside, rules)
        try:
            yield
        finally:
            nft(inside, "delete table ip cut\n")

    def crash(self, name: str) -> None:
        """The host is dead: its link first, so that nobody hears of it, then every process on it."""
        inside = self.hosts[name].namespace
        _ip(inside, ["link set eth0 down"])
        eventually(lambda: not _kill([inside]), 10.0, f"the end of all processes on {name}")

    def plug(self, name: str) -> None:
        """The link of a crashed host is up again."""
        host = self.hosts[name]
        router = f"{host.address.rpartition('.')[0]}.1"
        _ip(host.namespace, ["link set eth0 up", f"route add default via {router}"])


def _require() -> None:
    if os.geteuid() != 0:
        missing("root", "run the tests as root to make network namespaces")
    for program, package in (("ip", "iproute2"), ("nft", "nftables"), ("nsenter", "util-linux")):
        if shutil.which(program) is None:
            missing(f"the program {program}", f"install it with: apt-get install {package}")
    probe = f"{_PREFIX}{os.getpid()}-probe"
    made = subprocess.run(["ip", "netns", "add", probe], capture_output=True, text=True, check=False)
    if made.returncode:
        missing("network namespaces", f"run the tests where root may make them ({made.stderr.strip()})")
    _run("ip", "netns", "del", probe)


def _build(prefix: str, lans: Mapping[str, Lan], folder: Path, relays: ExitStack) -> Site:
    hub = f"{prefix}-hub"
    gateways = {name: f"{prefix}-gw-{name}" for name in lans}
    namespaces = [hub, *gateways.values()]
    hosts = {host.name: host for name, lan in lans.items() for host in _hosts(prefix, name, lan, folder)}
    for namespace in [*namespaces, *(host.namespace for host in hosts.values())]:
        _run("ip", "netns", "add", namespace)
    _ip(hub, ["link set lo up", f"addr add {HUB_ADDRESS}/32 dev lo"])
    for number, (name, lan) in enumerate(lans.items()):
        relays.callback(_connect_gateway(gateways[name], hub, name, lan, number))
    for host in hosts.values():
        _connect_host(f"{prefix}-gw-{host.network}", host)
    return Site(hosts, enter(hub), hub, gateways)


def _hosts(prefix: str, network: str, lan: Lan, folder: Path) -> Iterator[Host]:
    for number in range(1, lan.size + 1):
        name = f"{network}{number}"
        namespace = f"{prefix}-{name}"
        names = folder / f"hosts-{name}"
        names.write_text(f"127.0.0.1 localhost\n127.0.1.1 {name}\n")
        into = ("nsenter", f"--net={_NAMES / namespace}", "unshare", "--mount", "--uts")
        settle = ("sh", "-c", _SETTLE, "settle", name, str(names))
        yield Host(name, network, f"{lan.subnet}.{10 + number}", namespace, (*into, *settle))


def _connect_gateway(gateway: str, hub: str, network: str, lan: Lan, number: int) -> Callable[[], object]:
    """Connect a network; what is to be called when its namespaces are gone."""
    outside = f"198.51.100.{11 + number}"
    over: Callable[[], object] = _nothing
    if lan.delay:
        over = _relay(str(_NAMES / gateway), "wan", str(_NAMES / hub), f"to-{network}", str(lan.delay))
    else:
        link = ("link", "add", "wan", "netns", gateway, "type", "veth", "peer", "name", f"to-{network}", "netns", hub)
        _run("ip", *link)
    _ip(hub, [f"link set to-{network} up", f"route add {outside}/32 dev to-{network}"])
    _ip(
        gateway,
        [
            "link set lo up",
            "link set wan up",
            f"addr add {outside}/32 dev wan",
            f"route add {HUB_ADDRESS}/32 dev wan",
            "link add lan type bridge forward_delay 0",
            f"addr add {lan.subnet}.1/24 dev lan",
            "link set lan up",
        ],
    )
    nft(
        gateway,
        "add table ip nat\n"
        "add chain ip nat out { type nat hook postrouting priority 100; }\n"
        'add rule ip nat out oifname "wan" masquerade\n'
        "add chain ip nat pass { type filter hook forward priority 0; }\n"
        "add rule ip nat pass ct state established,related accept\n"
        # Where the kernel filters bridges too (br_netfilter), neighbours come through here.
        'add rule ip nat pass iifname "lan" oifname "lan" accept\n'
        f'add rule ip nat pass iifname "lan" ip daddr {HUB_ADDRESS} accept\n'
        "add rule ip nat pass reject with icmp type admin-prohibited\n",
    )
    _run(*enter(gateway), "sysctl", "-qw", "net.ipv4.ip_forward=1")
    return over


def _nothing() -> None: ...


def _relay(*words: str) -> Callable[[], object]:
    command = [sys.executable, str(Path(__file__).with_name("relay.py")), *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n", "the relay did not start"
    process.stdout.close()
    return process.wait


def _connect_host(gateway: str, host: Host) -> None:
    peer = f"to-{host.name}"
    _run("ip", "link", "add", "eth0", "netns", host.namespace, "type", "veth", "peer", "name", peer, "netns", gateway)
    _ip(gateway, [f"link set {peer} master lan", f"link set {peer} up"])
    router = f"{host.address.rpartition('.')[0]}.1"
    up = ["link set lo up", "link set eth0 up", f"addr add {host.address}/24 dev eth0"]
    _ip(host.namespace, [*up, f"route add default via {router}"])


def _ip(namespace: str, lines: list[str]) -> None:
    _run("ip", "-netns", namespace, "-batch", "-", text="\n".join(lines) + "\n")


def nft(namespace: str, rules: str) -> None:
    """Change packet filters of a namespace."""
    _run(*enter(namespace), "nft", "-f", "-", text=rules)


def enter(namespace: str) -> tuple[str, ...]:
    """What is put before a command to run it with a namespace's network."""
    return ("nsenter", f"--net={_NAMES / namespace}")


def _run(*command: str, text: str = "") -> None:
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed: {done.stderr.strip()} {text}")


# --- the end --------------------------------------------------------------------------------------------------------


def _free_prefix() -> str:
    """Told by this process's id, so that runs beside each other do not meet."""
    number = 0
    while any(_NAMES.glob(f"{_PREFIX}{os.getpid()}.{number}-*")):
        number += 1
    return f"{_PREFIX}{os.getpid()}.{number}"


def _remove_leftovers() -> None:
    for path in _NAMES.glob(f"{_PREFIX}[0-9]*-hub"):
        prefix = path.name.removesuffix("-hub")
        owner = prefix.removeprefix(_PREFIX).partition(".")[0]
        if not Path("/proc", owner).exists():
            _remove(prefix)


def _remove(prefix: str) -> None:
    """End every process in the namespaces (all of them are this site's), then the namespaces."""
    names = [path.name for path in _NAMES.glob(f"{prefix}-*")]
    # Those who start others first see their children's end; hence until nobody is left.
    eventually(lambda: not _kill(names), 10.0, "the end of all processes in the namespaces")
    for name in sorted(names, key=lambda name: name.endswith("-hub")):
        _run("ip", "netns", "del", name)


def _kill(names: list[str]) -> list[int]:
    found = [pid for name in names for pid in _pids(name)]
    for pid in found:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return found


def _pids(name: str) -> list[int]:
    listed = subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True, check=True)
    return [pid for pid in map(int, listed.stdout.split()) if lives(pid)]
