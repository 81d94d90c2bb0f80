"""`agent doctor` on the host's place in a cluster."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from agent.identity import Identity, save_record
from agent.membership import examine_membership
from coordinator.access import ca
from tests.fakes.agent_coordinator import enrol

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def identity(tmp_path: Path) -> Identity:
    return enrol(ca.load_or_create(tmp_path / "ca", time.time()), tmp_path / "agent", "h-1", "10.0.0.1:7432")


def test_a_member(identity: Identity) -> None:
    found = examine_membership(identity.state_dir, identity.not_before)
    assert (found.level, found.text) == ("ok", "host h-1 (h-1) of 10.0.0.1:7432, certificate for 1.0 more days")


def test_a_member_whose_coordinator_has_moved(identity: Identity) -> None:
    found = examine_membership(identity.state_dir, identity.not_before, ("10.0.0.9:1", "b:2"))
    assert found.text.startswith("host h-1 (h-1) of 10.0.0.9:1, b:2, certificate")


def test_a_stranger(tmp_path: Path) -> None:
    found = examine_membership(tmp_path, time.time())
    assert (found.level, found.text) == ("warn", f"this host has not joined a cluster ({tmp_path})")
    assert found.way_out == "run 'agent join HOST:PORT --token-file F'"


def test_a_certificate_out_of_its_time(identity: Identity) -> None:
    late = examine_membership(identity.state_dir, identity.not_after + 1)
    assert (late.level, late.text) == ("error", "host h-1 (h-1) of 10.0.0.1:7432: its certificate has expired")
    save_record(replace(identity, not_before=time.time() + 1000))
    early = examine_membership(identity.state_dir, time.time())
    assert early.way_out == "set this machine's clock right"


def test_keys_that_others_may_read(identity: Identity) -> None:
    identity.credentials_path.chmod(0o644)
    assert examine_membership(identity.state_dir, time.time()).level == "error"


def test_the_command_tells_it_last(identity: Identity) -> None:
    command = [sys.executable, "-m", "agent", "doctor", "--json", "--state-dir", str(identity.state_dir)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    finding = json.loads(done.stdout)["findings"][-1]
    assert (finding["topic"], finding["level"]) == ("cluster", "ok")
