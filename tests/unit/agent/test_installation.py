"""install.json and the link to the version in use."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.installation import (
    Created,
    Installation,
    InstallationDamaged,
    Mode,
    NotInstalled,
    Packages,
    Supervisor,
    current_version,
    find,
    layout,
    load,
    save,
    switch,
    version_name,
)


def installation(prefix: Path) -> Installation:
    return Installation(
        prefix=prefix,
        mode=Mode.ROOT,
        supervisor=Supervisor.SYSTEMD,
        state_dir=Path("/var/lib/rallypoint/agent"),
        coordinator="192.0.2.2:7443",
        install_url="https://192.0.2.2:7445",
        pin="ab" * 32,
        python="/usr/bin/python3.11",
        packages=Packages.WHEELHOUSE,
        unit="rallypoint-agent.service",
        user="rallypoint",
        created=Created(("rallypoint",), ("/opt/rallypoint",), ("/etc/systemd/system/x",), ("/usr/local/bin/agent",)),
    )


def test_what_is_written_is_read_and_everybody_may_read_it(tmp_path: Path) -> None:
    old = os.umask(0o077)
    try:
        save(installation(tmp_path))
    finally:
        os.umask(old)
    assert load(tmp_path) == installation(tmp_path)
    assert (tmp_path / "install.json").stat().st_mode & 0o777 == 0o644
    assert sorted(each.name for each in tmp_path.iterdir()) == ["install.json"]


def test_where_nothing_is_installed_the_way_to_install_is_told(tmp_path: Path) -> None:
    with pytest.raises(NotInstalled, match="token create --show-install"):
        load(tmp_path / "none")


@settings(deadline=None)
@given(st.sampled_from(("prefix", "mode", "created", "python", "format", "unit")), st.sampled_from((None, 7, [], {})))
def test_a_damaged_file_is_called_so(name: str, value: object) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        save(installation(Path(folder)))
        content = json.loads((Path(folder) / "install.json").read_bytes())
        (Path(folder) / "install.json").write_text(json.dumps({**content, name: value}))
        with pytest.raises(InstallationDamaged, match="again"):
            load(Path(folder))


def test_the_link_leads_to_the_version_that_was_switched_to(tmp_path: Path) -> None:
    assert current_version(tmp_path) is None
    for name in (version_name("0.1.0", "12345678" + "0" * 56), "0.2.0-ffffffff"):
        (tmp_path / "versions" / name).mkdir(parents=True)
        switch(tmp_path, name)
        assert current_version(tmp_path) == name
        assert (tmp_path / "current").resolve() == tmp_path / "versions" / name
    assert sorted(each.name for each in tmp_path.iterdir()) == ["current", "versions"]
    with pytest.raises(OSError):
        switch(tmp_path, "0.3.0-00000000")
    assert current_version(tmp_path) == "0.2.0-ffffffff"


def test_a_program_finds_the_installation_it_belongs_to(tmp_path: Path) -> None:
    own, other = tmp_path / "own", tmp_path / "data" / "rallypoint"
    for prefix in (own, other):
        (prefix / "versions" / "0.1.0-12345678").mkdir(parents=True)
        switch(prefix, "0.1.0-12345678")
        save(installation(prefix))
    usual = {"HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path / "data")}
    assert find(usual, str(own / "versions/0.1.0-12345678")).prefix == own
    assert find(usual, str(own / "current")).prefix == own
    assert layout(False, usual).prefix == other


def test_what_a_second_run_made_is_added_to_what_the_first_did() -> None:
    first = Created(("rallypoint",), ("/opt/rallypoint",), (), ("/usr/local/bin/agent",))
    second = replace(first, users=(), files=("/etc/systemd/system/x",))
    assert first.plus(second) == replace(first, files=("/etc/systemd/system/x",))
