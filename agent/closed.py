"""Files of the agent's own, for its user alone: nodes keep the usual umask, and it is the agent's too."""

import os


def for_owner(path: str, flags: int) -> int:
    """For ``open(…, opener=for_owner)``: closed to all others, also where an earlier release left it open to them.

    What root's own commands write for an agent of another user is that user's.

    Raises:
        OSError: it can't be opened, is a symbolic link, or belongs to somebody else.
    """
    descriptor = os.open(path, flags | os.O_NOFOLLOW, 0o600)
    try:
        os.fchmod(descriptor, 0o600)
        if os.geteuid() == 0:
            place = os.stat(os.path.dirname(path) or ".")
            os.fchown(descriptor, place.st_uid, place.st_gid)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def write_line(path: "str | os.PathLike[str]", text: str) -> None:
    """Have a line, and nothing else, in a file of the agent's own. Raises ``OSError``."""
    with open(path, "w", opener=for_owner) as file:
        file.write(f"{text}\n")
