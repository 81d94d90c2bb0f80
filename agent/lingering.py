"""Whether systemd keeps a user's services running while that user is not logged in: asked, begun and ended."""

from __future__ import annotations

import subprocess

_SECONDS = 30.0


def lingers(user: str) -> bool:
    """Whether it does so already; of a user of whom it knows nothing it does not."""
    return _loginctl("show-user", user, "--property=Linger", "--value")[1].strip() == "yes"


def begin(user: str) -> bool:
    """Have it do so from now on; whether it does, for it may need rights that the user has not."""
    return _loginctl("enable-linger", user)[0] == 0


def end(user: str) -> str:
    """The reverse; why not, else empty."""
    code, said = _loginctl("disable-linger", user)
    return "" if code == 0 or not lingers(user) else " ".join(said.split())


def _loginctl(*words: str) -> tuple[int, str]:
    command = ["loginctl", *words]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except (OSError, subprocess.SubprocessError) as error:
        return 1, str(error)
    return done.returncode, done.stdout or done.stderr
