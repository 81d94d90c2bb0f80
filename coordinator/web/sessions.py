"""Browser sessions and the brake on guessing tokens. Both are plain memory; time (monotonic seconds) is an argument."""

from __future__ import annotations

import hashlib
import math
import secrets
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Session:
    """A browser that showed ``token``; the token is checked again at each request, so revoking it ends the session."""

    token: str = field(repr=False)
    until: float


class Sessions:
    """Sessions by their secret key. Lost at a restart: users then sign in again."""

    def __init__(self, lifetime: float = 12 * 3600.0, limit: int = 1000) -> None:
        self.lifetime = lifetime
        self._limit = limit
        self._by_digest: dict[bytes, Session] = {}

    def open(self, token: str, now: float) -> str:
        """Make a session for ``token``; the key to put into the cookie. Beyond the limit the oldest session ends."""
        for digest in [d for d, s in self._by_digest.items() if s.until <= now]:
            del self._by_digest[digest]
        while len(self._by_digest) >= self._limit:
            del self._by_digest[next(iter(self._by_digest))]
        key = secrets.token_urlsafe(32)
        self._by_digest[_digest(key)] = Session(token, now + self.lifetime)
        return key

    def token(self, key: str, now: float) -> str | None:
        """The token shown when the session was opened; None if there is no such session or it has ended."""
        session = self._by_digest.get(_digest(key))
        return session.token if session and now < session.until else None

    def close(self, key: str) -> None:
        """End a session; no error if it has ended already."""
        self._by_digest.pop(_digest(key), None)


def _digest(key: str) -> bytes:
    # Looked up by digest: how long a look-up takes tells nothing about the keys that exist.
    return hashlib.sha256(key.encode()).digest()


@dataclass(frozen=True, slots=True)
class _Window:
    until: float
    failures: int


class Brake:
    """Allows ``failures`` wrong tokens per ``window`` seconds and key (an address), then none until the window ends."""

    def __init__(self, failures: int = 10, window: float = 60.0, limit: int = 10_000) -> None:
        self._failures = failures
        self._window = window
        self._limit = limit
        self._windows: dict[str, _Window] = {}

    def wait(self, key: str, now: float) -> int:
        """Whole seconds until the key may try again; 0 if it may now."""
        seen = self._windows.get(key)
        if seen is None or seen.until <= now or seen.failures < self._failures:
            return 0
        return max(1, math.ceil(seen.until - now))

    def failed(self, key: str, now: float) -> None:
        """Count a wrong token."""
        seen = self._windows.pop(key, None)
        if seen is None or seen.until <= now:
            seen = _Window(now + self._window, 0)
        while len(self._windows) >= self._limit:
            del self._windows[next(iter(self._windows))]
        self._windows[key] = _Window(seen.until, seen.failures + 1)
