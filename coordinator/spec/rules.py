"""Rules for single values that hold wherever a job comes from: a task file, options, or another program's call."""

from __future__ import annotations

import re

from coordinator.core.spec import OnNodeFailure, Placement
from coordinator.spec.problems import Wrong, nearest

NAME = re.compile(r"[a-z][a-z0-9-]{0,40}")
ID_LIKE = re.compile(r"j-[0-9]+")
ENV_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
MAX_SPEC_BYTES = 1024 * 1024
"""Most bytes that a job's specification may have on the wire; longer scripts belong into its files."""

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


def misplaced(
    placement: Placement, on_node_failure: OnNodeFailure, redundancy: int, spares: int
) -> list[tuple[str, str]]:
    """Fields that make no sense for the job's placement, each with what to do about it."""
    wrong = []
    if placement is not Placement.ANY and on_node_failure is not OnNodeFailure.GO_ON:
        text = "on_node_failure is for placement 'any'; a group ends as a whole; use 'retry' to form it anew"
        wrong.append(("on_node_failure", text))
    if placement is not Placement.ANY and redundancy > 1:
        text = "redundancy is for placement 'any'; a group can't run twice; use 'spares' to replace a lost member fast"
        wrong.append(("redundancy", text))
    if placement is Placement.ANY and spares:
        text = (
            "spares are for placement 'cluster'; a lost 'any' node takes any free host; remove it, or use 'redundancy'"
        )
        wrong.append(("spares", text))
    return wrong


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


def check_shell(shell: str) -> str:
    """The program that runs commands. Raises ``Wrong``."""
    if shell in ("sh", "bash") or shell.startswith("/"):
        return check_text("shell", shell)
    raise Wrong(f"shell {shell!r} can't be used; it is sh, bash or an absolute path; write for example /bin/{shell}")
