"""The environment of a node. Pure, but for the look for bash: everything it depends on is an argument.

It is built from nothing, not from the agent's own environment: an agent may itself run inside some cluster's job, and
an `any` node must not see a trace of that.
"""

from __future__ import annotations

import os
import shlex
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from agent.core.model import Desired, Group
    from agent.users import Account

# What a login gives, and nothing else, comes from the agent's environment.
_KEPT = ("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "TZ", "TMPDIR")
_LAUNCHING = ("OMPI_MCA_plm_rsh_agent", "OMPI_MCA_plm_rsh_no_tree_spawn", "RALLYPOINT_LAUNCH_TICKET")
_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Between two commands: ends with the code of the first one if it failed.
_GO_ON = "case $? in 0) ;; *) exit $? ;; esac"


@dataclass(frozen=True, slots=True)
class Host:
    """What a node may know of the host it is on."""

    host_id: str
    host_name: str
    backend: str
    region: str


@dataclass(frozen=True, slots=True)
class ClusterFiles:
    """What the agent laid ready for one node of a group.

    ``launcher`` and ``ticket`` are how MPI starts its daemons; ``interface`` holds the node's group address;
    ``mpi_network`` (CIDR) holds those of all members; empty: MPI needs no telling which network to use. ``ready`` is
    the file that the node makes to announce that it is.
    """

    hostfile: str
    launcher: str
    ticket: str
    interface: str = ""
    mpi_network: str = ""
    ready: str = ""


def base(own: Mapping[str, str]) -> dict[str, str]:
    """What is taken over from the agent's ``own`` environment."""
    kept = {key: own[key] for key in _KEPT if key in own}
    kept |= {key: value for key, value in own.items() if key.startswith("LC_")}
    kept.setdefault("PATH", _DEFAULT_PATH)
    return kept


def login_of(account: Account, inherited: Mapping[str, str], work: str) -> dict[str, str]:
    """What a login as ``account`` gives, in place of what the agent's own gave; ``work`` is its home if it has none."""
    kept = {key: value for key, value in inherited.items() if key != "TMPDIR"}
    home, name = account.home or work, account.name
    return {**kept, "HOME": home, "USER": name, "LOGNAME": name, "SHELL": account.shell}


def node_environment(
    desired: Desired, host: Host, working_dir: str, inherited: Mapping[str, str], files: ClusterFiles | None
) -> dict[str, str]:
    """All variables of one node; the user's own win over every other. In front of PATH stands MPI's launcher.

    Args:
        desired: the node; with a group, it gets the group's variables too.
        host: where it runs.
        working_dir: absolute path of its working directory.
        inherited: the result of :func:`base`.
        files: what was laid ready for it; needed if ``desired`` has a group.
    """
    gpus = len(desired.gpu_uuids)
    env = {
        **inherited,
        "DSTACK_RUN_NAME": desired.job_name,
        "DSTACK_RUN_ID": desired.job_id,
        "DSTACK_JOB_ID": desired.id,
        "DSTACK_NODE_RANK": str(desired.rank),
        "DSTACK_NODES_NUM": str(desired.spec.nodes),
        "DSTACK_GPUS_PER_NODE": str(gpus),
        "DSTACK_GPUS_NUM": str(_gpus_of_all(desired)),
        "DSTACK_WORKING_DIR": working_dir,
        "CUDA_VISIBLE_DEVICES": ",".join(desired.gpu_uuids),
        "RALLYPOINT_ALLOCATION_ID": desired.id,
        "RALLYPOINT_ATTEMPT": str(desired.attempt),
        "RALLYPOINT_HOST_NAME": host.host_name,
        "RALLYPOINT_BACKEND": host.backend,
        "RALLYPOINT_REGION": host.region,
        "RALLYPOINT_PLACEMENT": "cluster" if desired.spec.cluster else "any",
        **desired.spec.given,
    }
    if desired.group is None or files is None:
        return {**env, **desired.spec.env}
    # Shells and mpirun take over this name of the directory, where they would else find out its real one.
    env |= {"PWD": working_dir, **_group_environment(desired.group, desired, files), **desired.spec.env}
    if desired.spec.image:
        # The launcher is a program of the host's, which no image has.
        return {key: value for key, value in env.items() if key not in _LAUNCHING}
    return {**env, "PATH": f"{os.path.dirname(files.launcher)}:{env['PATH']}"}


def _gpus_of_all(desired: Desired) -> int:
    """Those of all nodes; of a group whose members hold different numbers the sum."""
    gpus = len(desired.gpu_uuids)
    members = desired.group.members if desired.group is not None else ()
    return sum(member.gpus for member in members) or gpus * desired.spec.nodes


def _group_environment(group: Group, desired: Desired, files: ClusterFiles) -> dict[str, str]:
    addresses = [member.address for member in group.members]
    own = next((member.address for member in group.members if member.rank == desired.rank), "")
    env = {
        "DSTACK_MASTER_NODE_IP": group.master_address,
        "DSTACK_NODES_IPS": "\n".join(addresses),
        "DSTACK_MPI_HOSTFILE": files.hostfile,
        "MASTER_ADDR": group.master_address,
        "MASTER_PORT": str(group.master_port),
        "RALLYPOINT_NODE_ADDRESS": own,
        "RALLYPOINT_LAUNCH_TICKET": files.ticket,
        "RALLYPOINT_READY_FILE": files.ready,
        # By its name alone: mpirun hands it to the daemons on all hosts, where it lies elsewhere.
        "OMPI_MCA_plm_rsh_agent": os.path.basename(files.launcher),
        # All daemons are started from the node that runs mpirun: only its launcher is asked.
        "OMPI_MCA_plm_rsh_no_tree_spawn": "1",
        "OMPI_ALLOW_RUN_AS_ROOT": "1",
        "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    }
    if files.interface:
        env |= {"NCCL_SOCKET_IFNAME": files.interface, "GLOO_SOCKET_IFNAME": files.interface}
    if files.mpi_network and "OMPI_MCA_oob_tcp_if_exclude" not in desired.spec.env:
        # As a network, not by name: mpirun hands its own settings to all hosts, whose interfaces have other names.
        env["OMPI_MCA_oob_tcp_if_include"] = files.mpi_network
    return env


def daemon_environment(env: Mapping[str, str], network: str, command: str) -> dict[str, str]:
    """What an MPI daemon gets beside its node's ``env``: the ``network`` (may be empty) that its programs use.

    Not in the node's own environment, for Open MPI refuses an ``--mca btl_tcp_if_exclude`` beside it. The programs on
    mpirun's own host need none: they see only addresses in that network of all others. What the user says, in ``env``
    or to mpirun, which repeats it in the daemon's ``command``, holds alone.
    """
    said = "btl_tcp_if_" in command or any("btl_tcp_if_" in key for key in env)
    return {"OMPI_MCA_btl_tcp_if_include": network} if network and not said else {}


def hostfile(group: Group) -> str:
    """MPI's host file: a line ``ip slots=N`` for each address, in rank order; nodes that share one are added up."""
    slots: dict[str, int] = {}
    for member in group.members:
        slots[member.address] = slots.get(member.address, 0) + max(1, member.slots)
    return "".join(f"{address} slots={count}\n" for address, count in slots.items())


def command(desired: Desired, path: str) -> list[str]:
    """The program to execute; ``path`` is the node's PATH.

    Each command runs after the success of the last, in the same shell, and is read by itself: neither a comment nor
    an open here-document reaches into the next one. Not with ``&&``, to whose left a command's ``set -e`` is ignored.
    """
    if desired.spec.argv:
        return list(desired.spec.argv)
    return [desired.spec.shell or shell_of(path), "-c", script(desired.spec.commands)]


def script(commands: Sequence[str]) -> str:
    """What a shell is given, that runs all commands of a node; empty for none."""
    *first, last = commands or ("",)
    return "".join(f"eval {shlex.quote(text)}\n{_GO_ON}\n" for text in first) + last


def shell_of(path: str, bash: str = "/bin/bash") -> str:
    """Which shell reads commands: bash, for which task files are written, where the host has it; else ``sh``."""
    if shutil.which("bash", path=path):
        return "bash"
    return bash if os.access(bash, os.X_OK) else "sh"
