"""Rules for single values that hold wherever a job comes from: a task file, options, or another program's call."""

from __future__ import annotations

import re
from collections.abc import Sequence

from coordinator.core import cron
from coordinator.core.matrix import Matrix, MatrixSource
from coordinator.core.spec import JobSpec, OnNodeFailure, Placement, PreflightPolicy, StartupOrder, UtilizationPolicy
from coordinator.spec.container import misplaced
from coordinator.spec.problems import Wrong, nearest

NAME = re.compile(r"[a-z][a-z0-9-]{0,40}")
ID_LIKE = re.compile(r"j-[0-9]+")
_PART_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
# A host, an IPv6 address in brackets, either with a port, or a URL of http or https.
_NEAR = re.compile(r"(https?://)?([A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?(/\S*)?")
_USER = re.compile(r"([a-z_][a-z0-9_.-]{0,31}\$?|[0-9]{1,10})(:([a-z_][a-z0-9_.-]{0,31}|[0-9]{1,10}))?", re.IGNORECASE)
ENV_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
MAX_SPEC_BYTES = 1024 * 1024
"""Most bytes that a job's specification may have on the wire, less its matrix; longer scripts belong into its files."""
MAX_MATRIX_BYTES = 8 * 1024 * 1024
"""Most bytes that the values of a job's nodes may have; beside all else they fit into one gRPC message."""

MATRIX_FIELDS = {MatrixSource.MATRIX: "matrix", MatrixSource.ARRAY: "array", MatrixSource.LINES: "each_line"}
"""The field of a task file that gives nodes their values."""
_LONG_VALUES = "send them in a file with 'files', and give nodes numbers with 'array'"

# Names without SIG that POSIX or Linux give to the signals a program may be sent; the numbers are the host's own.
SIGNALS = frozenset(
    "ABRT ALRM CONT HUP INT KILL PIPE PWR QUIT SEGV STOP TERM TRAP TSTP TTIN TTOU URG USR1 USR2 VTALRM WINCH".split()
)
ARCHES = {
    "x86": "x86",
    "x86_64": "x86",
    "amd64": "x86",
    "x86-64": "x86",
    "arm": "arm",
    "arm64": "arm",
    "aarch64": "arm",
}
VENDORS = {
    "nvidia": "nvidia",
    "amd": "amd",
    "intel": "intel",
    "google": "google",
    "tpu": "google",
    "tenstorrent": "tenstorrent",
    "tt": "tenstorrent",
}


def check_name(name: str) -> str:
    """A job's name. Raises ``Wrong``."""
    if not NAME.fullmatch(name):
        raise Wrong(
            f"name {name!r} can't be used; a name is 1 to 41 of a-z, 0-9 and -, and begins with a letter;"
            f" write for example {_suggest_name(name)!r}"
        )
    if ID_LIKE.fullmatch(name):
        raise Wrong(f"name {name!r} can't be used; it looks like a job's id; choose another name")
    return name


def _suggest_name(name: str) -> str:
    cleaned = re.sub(r"[^a-z0-9-]+", "-", name.lower()).strip("-")[:41].rstrip("-")
    return cleaned if NAME.fullmatch(cleaned) else f"job-{cleaned}"[:41].rstrip("-")


def contradictions(spec: JobSpec) -> list[tuple[str, str]]:
    """Fields that make no sense together, each with what to do about it."""
    wrong = _misplaced_any(spec) if spec.placement is Placement.ANY else _misplaced_cluster(spec)
    if spec.variants and spec.groups:
        wrong.append(("variants", "variants and groups exclude each other; give each group its resources; remove one"))
    if spec.groups and sum(group.nodes for group in spec.groups) != spec.nodes:
        wrong.append(("nodes", f"the groups do not add up to nodes ({spec.nodes}); leave nodes out"))
    if spec.matrix is not None and len(spec.matrix) != spec.nodes:
        field = MATRIX_FIELDS[spec.matrix.source]
        wrong.append(("nodes", f"{field} makes {len(spec.matrix)} nodes, not {spec.nodes}; leave nodes out"))
    if spec.matrix is not None and (size := matrix_bytes(spec.matrix)) > MAX_MATRIX_BYTES:
        text = f"the values of the nodes have {size} bytes; at most {MAX_MATRIX_BYTES} are taken; {_LONG_VALUES}"
        wrong.append((MATRIX_FIELDS[spec.matrix.source], text))
    return wrong + misplaced(spec)


def matrix_bytes(matrix: Matrix) -> int:
    """About how many bytes the values of a job's nodes have on the wire."""
    texts = [value for axis in matrix.axes for value in axis.values]
    texts += [text for entry in matrix.included for pair in entry.items() for text in pair]
    # Some for what says how long each text is, and for the ends of what is left out.
    return sum(len(text.encode()) + 4 for text in texts) + 12 * len(matrix.excluded)


def _misplaced_any(spec: JobSpec) -> list[tuple[str, str]]:
    wrong = []
    if spec.spares:
        text = (
            "spares are for placement 'cluster'; a lost 'any' node takes any free host; remove it, or use 'redundancy'"
        )
        wrong.append(("spares", text))
    if spec.groups:
        text = "groups are for placement 'cluster'; 'any' nodes know nothing of each other; use 'variants'"
        wrong.append(("groups", text))
    if spec.startup_order is not StartupOrder.ANY:
        text = "startup_order is for placement 'cluster'; 'any' nodes start whenever a host has room; remove it"
        wrong.append(("startup_order", text))
    if spec.preflight is not None:
        text = "preflight is for placement 'cluster'; 'any' nodes never talk to each other; remove it"
        wrong.append(("preflight", text))
    return wrong


def _misplaced_cluster(spec: JobSpec) -> list[tuple[str, str]]:
    wrong = []
    if spec.on_node_failure is not OnNodeFailure.GO_ON:
        text = "on_node_failure is for placement 'any'; a group ends as a whole; use 'retry' to form it anew"
        wrong.append(("on_node_failure", text))
    if spec.redundancy > 1:
        text = "redundancy is for placement 'any'; a group can't run twice; use 'spares' to replace a lost member fast"
        wrong.append(("redundancy", text))
    if spec.matrix is not None:
        field = MATRIX_FIELDS[spec.matrix.source]
        wrong.append((field, f"{field} is for placement 'any': each node on its own; write 'placement: any'"))
    if spec.max_running is not None:
        text = "max_running is for placement 'any'; a group starts as a whole; remove it, or write 'placement: any'"
        wrong.append(("max_running", text))
    return wrong


def check_part_name(what: str, name: str) -> str:
    """The name of a variant or a group. Raises ``Wrong``."""
    if not _PART_NAME.fullmatch(name):
        raise Wrong(
            f"{what} name {name!r} can't be used; it is 1 to 63 of letters, digits, '.', '_' and '-', a letter or digit"
            " first; choose another"
        )
    return name


def check_parameter(name: str) -> str:
    """The name of a parameter, which becomes part of a variable's name. Raises ``Wrong``."""
    if not ENV_KEY.fullmatch(name):
        raise Wrong(
            f"parameter {name!r} can't be used; it is letters, digits and _, not a digit first; choose another name"
        )
    return name


def check_different(what: str, names: Sequence[str]) -> None:
    """That no two things have the same name. Raises ``Wrong``."""
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise Wrong(f"{what} {twice!r} is given twice; each needs a name of its own; rename one")


def check_share(numerator: int, denominator: int) -> None:
    """A part of a GPU: more than nothing, less than all, and no finer than hundredths. Raises ``Wrong``."""
    if not 0 < numerator < denominator <= 100:
        raise Wrong(
            f"share {numerator}/{denominator} can't be had; a share is a part of one GPU, from 1/100 to 99/100;"
            " write for example 1/2"
        )


def check_near(near: str) -> str:
    """A host or URL that hosts can measure their distance to. Raises ``Wrong``."""
    match = _NEAR.fullmatch(near)
    if match is None or (match[3] is not None and not 0 < int(match[3][1:]) < 65536):
        raise Wrong(
            f"near {near!r} is neither a host nor a URL; write for example data.example.org, 10.0.0.5:9000 or"
            " https://bucket.example.org/data"
        )
    if "?" in near:
        # Where one may sign URLs that is a secret, and whoever may look at jobs sees it.
        raise Wrong("near has a question mark; leave out what begins there, as only the host and the port count")
    return near


def check_schedule(schedule: str) -> str:
    """One or several cron expressions, divided by ``;``. Raises ``Wrong``."""
    try:
        cron.parse_all(schedule)
    except cron.Wrong as wrong:
        raise Wrong(str(wrong)) from None
    return schedule


def check_utilization(policy: UtilizationPolicy) -> UtilizationPolicy:
    """A policy that can be kept. Raises ``Wrong``."""
    if not 0 < policy.min_gpu_percent <= 100:
        raise Wrong(f"min_gpu_utilization {policy.min_gpu_percent:g} is not a share; it goes from 1 to 100 percent")
    if not 60 <= policy.window <= 7 * 86400:
        raise Wrong(f"time_window {policy.window:g} s can't be used; it goes from 1m to 7d; choose another")
    return policy


def check_preflight(policy: PreflightPolicy) -> PreflightPolicy:
    """Measurements that can be made. Raises ``Wrong``."""
    if not 0.1 <= policy.seconds <= 60:
        raise Wrong(f"preflight for {policy.seconds:g} s can't be made; seconds goes from 0.1 to 60; choose another")
    if policy.min_bandwidth is not None and not 1e3 <= policy.min_bandwidth <= 1e14:
        text = f"min_bandwidth of {policy.min_bandwidth:g} bit/s can't be asked for; it goes from 1 kbps to 100 Tbps"
        raise Wrong(f"{text}; write for example 10Gbps")
    if policy.max_latency is not None and not 1e-6 <= policy.max_latency <= 60:
        raise Wrong(f"max_latency of {policy.max_latency:g} s can't be asked for; it goes from 1us to 60s")
    return policy


def check_env_key(key: str) -> str:
    """The name of an environment variable. Raises ``Wrong``."""
    if not ENV_KEY.fullmatch(key):
        raise Wrong(
            f"env {key!r} is not a variable's name; a name is letters, digits and _, not a digit first; write KEY=VALUE"
        )
    return key


def check_text(what: str, text: str) -> str:
    """Text that goes into a process's arguments or environment. Raises ``Wrong``."""
    if "\0" in text:
        raise Wrong(f"{what} holds a NUL character; no program can be given one; remove it")
    return text


def check_signal(name: str) -> str:
    """A signal's name, with or without SIG, in any case: ``TERM``. Raises ``Wrong``."""
    short = name.upper().removeprefix("SIG")
    if short not in SIGNALS:
        guess = nearest(short.lower(), [known.lower() for known in SIGNALS])
        meant = f"did you mean {guess.upper()}?" if guess else "write for example TERM, INT or USR1"
        raise Wrong(f"signal {name!r} is not known; signals are given by name; {meant}")
    return short


def check_user(user: str) -> str:
    """Whom nodes run as: ``NAME``, ``UID``, and either with ``:GROUP``. Raises ``Wrong``."""
    match = _USER.fullmatch(user)
    ids = [int(part) for part in user.split(":") if part.isdigit()] if match else []
    # The kernel takes the greatest number for "leave it as it is".
    if match is None or any(number >= 2**32 - 1 for number in ids):
        raise Wrong(f"user {user!r} can't be used; it is NAME, UID or UID:GID; write for example ubuntu or 1000:1000")
    return user


def check_shell(shell: str) -> str:
    """The program that runs commands. Raises ``Wrong``."""
    if shell in ("sh", "bash") or shell.startswith("/"):
        return check_text("shell", shell)
    raise Wrong(f"shell {shell!r} can't be used; it is sh, bash or an absolute path; write for example /bin/{shell}")
