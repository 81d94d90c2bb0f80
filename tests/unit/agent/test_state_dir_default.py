"""Where an agent keeps its state when nobody says where."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from agent.identity import default_state_dir
from agent.installation import SYSTEM_STATE_DIR
from tests.support import missing


def test_a_users_agent_has_it_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    assert default_state_dir() == tmp_path / ".local/state/rallypoint/agent"


def test_roots_has_it_where_nodes_of_other_users_get_to(monkeypatch: pytest.MonkeyPatch) -> None:
    if os.geteuid():
        missing("root", "run as root")
    home = Path(pwd.getpwuid(0).pw_dir)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    own = home / ".local/state/rallypoint/agent"
    # One that was put there before this rule is left there.
    assert default_state_dir() == (own if own.exists() else SYSTEM_STATE_DIR)
