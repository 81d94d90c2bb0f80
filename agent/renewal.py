"""Renewal of the host's certificate from within the daemon, which must stay small: see ``agent.credentials``."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from agent.identity import Identity, load_identity

_LIMIT = 60.0  # seconds for one step; a key takes milliseconds, but a host at work may be slow


class RenewalFailed(Exception):
    """The certificate was not renewed; the old one stays in use, and the next attempt may succeed."""


async def renewal_request(state_dir: Path) -> bytes:
    """Make a new key and return its certificate request (PEM). Raises ``RenewalFailed``."""
    return await _step("request", state_dir, b"")


async def renewal_result(state_dir: Path, certificate_pem: bytes) -> Identity:
    """Check and store the coordinator's answer; the new identity. Raises ``RenewalFailed``.

    Channels and TLS contexts made before go on with the old certificate until they are made anew.
    """
    await _step("accept", state_dir, certificate_pem)
    return load_identity(state_dir)


async def _step(step: str, state_dir: Path, data: bytes) -> bytes:
    pipe = asyncio.subprocess.PIPE
    command = (sys.executable, "-m", "agent.credentials", step, str(state_dir))
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, stderr=pipe)
    try:
        async with asyncio.timeout(_LIMIT):
            output, complaint = await process.communicate(data)
    except TimeoutError:
        raise RenewalFailed(f"renewal step '{step}' took longer than {_LIMIT:g} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        lines = complaint.decode(errors="replace").strip().splitlines()
        raise RenewalFailed(lines[-1] if lines else f"renewal step '{step}' ended with {process.returncode}")
    return output
