"""How a node's variables get into a container without ever standing in an argument, whatever is in them.

Most stand in a file, a line each. What a line can't say (line breaks, blanks at the ends) the runtime's program takes
over from its own environment, by name. That program runs as the agent's user, so names that could change what it does
are not given to it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

# Names that the dynamic linker, the C library, Go, podman, docker and their helpers look at.
_TELLING = re.compile(
    r"_|LD_|GLIBC_|GCONV|GETCONF|HOSTALIASES|LOCALDOMAIN|LOCPATH|MALLOC_|NIS_PATH|NLSPATH|RESOLV|RES_OPTIONS|TMPDIR|TZ"
    r"|GO[A-Z]|CONTAINER|PODMAN|DOCKER|STORAGE_|REGISTR|BUILD|XDG_|DBUS_|NOTIFY_|LISTEN_|PATH$|HOME$|USER$|SSL_|CONMON"
    r"|RUNC|CRUN|OCI|LIBPOD|NETAVARK|CNI|SYSTEMD|JOURNAL|RALLYPOINT_MARK|(HTTPS?|NO|ALL|FTP)_PROXY",
    re.IGNORECASE,
)
# Some runtimes read lines of this length at most, and some take quotes at the begin of a value for their own.
_LONGEST = 32 * 1024
_ODD_START = ("'", '"', "`")


class Unsayable(ValueError):
    """A variable that a container can't be given: the message names it."""


def split(env: Mapping[str, str]) -> tuple[list[str], dict[str, str]]:
    """Lines of a file, and what is inherited by name.

    Raises:
        Unsayable: a variable can be said in neither way.
    """
    lines, inherited = [], {}
    for name, value in env.items():
        if _is_plain(value):
            lines.append(f"{name}={value}")
        elif _TELLING.match(name):
            raise Unsayable(
                f"env {name}: a container can't be given a variable of this name with line breaks, or with blanks or"
                " quotes at its begin; give it another name"
            )
        else:
            inherited[name] = value
    return lines, inherited


def _is_plain(value: str) -> bool:
    if len(value) > _LONGEST or value.startswith(_ODD_START) or value != value.strip():
        return False
    return value.isprintable() or all(letter.isprintable() or letter == "\t" for letter in value)
