"""systemd's notify protocol, as far as a daemon needs it. Without systemd every function does nothing."""

from __future__ import annotations

import os
import socket


def notify(*states: str) -> None:
    """Tell systemd, e.g. ``READY=1`` or ``STATUS=…``. Never fails: a daemon must not end because nobody listens."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            sender.connect("\0" + address[1:] if address.startswith("@") else address)
            sender.sendall("\n".join(states).encode())
    except OSError:
        return


def watchdog_seconds() -> float | None:
    """How often to send ``WATCHDOG=1``: half of what the unit's ``WatchdogSec=`` allows. None: not asked for."""
    micros = os.environ.get("WATCHDOG_USEC", "")
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()) or not micros.isdigit() or int(micros) == 0:
        return None
    return int(micros) / 2_000_000
