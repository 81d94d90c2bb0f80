"""Context files: written privately, found in order, refused with a way out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from coordinator.access.context import write_context
from coordinator.context import (
    Context,
    ContextError,
    default_data_dir,
    find_context,
    load_context,
    user_context_path,
)

CA_PEM = b"-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n"
CONTEXT = Context(
    "127.0.0.1:7000", "c0ffee12", b"-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n", "rpu1.s"
)


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


def test_there_and_back(tmp_path: Path) -> None:
    path = tmp_path / "new" / "admin.toml"
    write_context(path, CONTEXT)
    assert load_context(path) == CONTEXT
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert "rpu1.s" not in repr(CONTEXT)


def test_the_order_of_places(tmp_path: Path) -> None:
    with pytest.raises(ContextError, match=r"no coordinator is known here .*: start one with 'coordinator serve', or"):
        find_context(None, {})
    admin = default_data_dir() / "admin.toml"
    write_context(admin, CONTEXT)
    assert find_context(None, {}) == admin
    write_context(user_context_path(), CONTEXT)
    assert find_context(None, {}) == user_context_path()
    assert find_context(None, {"RALLYPOINT_CONTEXT": "/a"}) == Path("/a")
    assert find_context("/b", {"RALLYPOINT_CONTEXT": "/a"}) == Path("/b")


def test_refusals(tmp_path: Path) -> None:
    path = tmp_path / "context.toml"
    with pytest.raises(ContextError, match="can't be read \\(No such file or directory\\): give the right one"):
        load_context(path)
    write_context(path, CONTEXT)
    whole = path.read_text()
    path.write_text("address = ")
    with pytest.raises(ContextError, match=r"is not valid TOML .*: copy it again"):
        load_context(path)
    path.write_text(whole.replace("token =", "tokem ="))
    with pytest.raises(ContextError, match="has no 'token'"):
        load_context(path)
    path.write_text(whole.replace("127.0.0.1:7000", "somewhere"))
    with pytest.raises(ContextError, match="'somewhere' is not an address"):
        load_context(path)
    path.chmod(0o644)
    with pytest.raises(ContextError, match=f"may be read by other users: run 'chmod 600 {path}'"):
        load_context(path)


def test_commands_load_nothing_heavy_for_it() -> None:
    heavy = ("cryptography", "grpc", "google.protobuf", "ssl", "sqlalchemy", "pydantic")
    program = f"import sys, coordinator.context; print([name for name in {heavy!r} if name in sys.modules])"
    command = [sys.executable, "-c", program]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == "[]"
