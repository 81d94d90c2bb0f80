"""Settings of a coordinator: which source counts, and that every error names the source."""

from __future__ import annotations

from pathlib import Path

import pytest

from coordinator.settings import Settings, SettingsError, load_settings

pytestmark = pytest.mark.timeout(30)


def settings(tmp_path: Path, toml: str = "", environ: dict[str, str] | None = None, **flags: str) -> Settings:
    (tmp_path / "coordinator.toml").write_text(toml)
    return load_settings({"data_dir": str(tmp_path), **flags}, environ or {})


def test_defaults(tmp_path: Path) -> None:
    found = settings(tmp_path)
    assert found.data_dir == tmp_path
    assert (found.listen, found.agent_listen, found.http) == ("0.0.0.0:7443", "0.0.0.0:7444", "127.0.0.1:7480")
    at = found.timing
    assert (at.heartbeat, at.suspect, at.lease, at.lease_grace, at.lease_margin) == (
        5,
        15,
        30,
        5,
        1,
    )
    assert at.lost == 36, "lease, grace and margin"
    assert (found.certificate_life, found.log_level, found.advertise) == (7 * 86400, "info", ())
    assert (found.database_url, found.advertise_agent_port) == (None, None)
    assert (found.log_limit, found.archive_keep) == (256 << 20, 16 << 30)


def test_flag_before_environment_before_file(tmp_path: Path) -> None:
    toml = 'listen = "10.0.0.1:1"\nhttp = "10.0.0.1:2"\nlog_level = "debug"\nheartbeat = 2\nadvertise = ["a", "b"]\n'
    environ = {"RALLYPOINT_LISTEN": "10.0.0.2:1", "RALLYPOINT_HTTP": "off"}
    found = settings(tmp_path, toml, environ, listen="10.0.0.3:1")
    assert (found.listen, found.http, found.log_level) == ("10.0.0.3:1", None, "debug")
    assert (found.timing.heartbeat, found.advertise) == (2, ("a", "b"))


def test_any_port(tmp_path: Path) -> None:
    found = settings(tmp_path, listen="127.0.0.1:0", http="[::1]:0")
    assert (found.listen, found.agent_listen, found.http) == ("127.0.0.1:0", "127.0.0.1:0", "[::1]:0")


def test_another_file(tmp_path: Path) -> None:
    other = tmp_path / "other.toml"
    other.write_text(f'data_dir = "{tmp_path / "data"}"\nhttp = false\n')
    found = load_settings({}, {}, str(other))
    assert (found.data_dir, found.http) == (tmp_path / "data", None)


@pytest.mark.parametrize(
    ("toml", "environ", "flags", "text"),
    [
        ("", {}, {"log_limit": "0.5MB"}, "--log-limit: '0.5MB' is too small; write 1MB or more"),
        ("", {}, {"listen": "7443"}, "--listen: '7443' is not an address: write HOST:PORT"),
        ("", {"RALLYPOINT_HTTP": "x:y"}, {}, "RALLYPOINT_HTTP: 'x:y' has no valid port"),
        (
            "lisen = 'x'",
            {},
            {},
            "coordinator.toml: unknown setting 'lisen'; a coordinator has no such setting;",
        ),
        ("lease = 'soon'", {}, {}, "coordinator.toml: lease: 'soon' is not a duration; write a number and a unit"),
        (
            "lease = {a = 1}",
            {},
            {},
            "coordinator.toml: lease has a value of an unknown form; write it as",
        ),
        ("listen", {}, {}, "coordinator.toml: not valid TOML:"),
        ("", {}, {"heartbeat": "0"}, "--heartbeat: must be more than 0; write for example 5s"),
        ("margin = 0", {}, {}, "coordinator.toml: margin: must be more than 0; write for example 1s"),
        ("suspect = 31", {}, {}, "must grow in this order, but are heartbeat 5s (default), suspect 31 ("),
        (
            "",
            {},
            {"log_level": "loud"},
            "--log-level: 'loud' is not a log level; known are debug, info, warning",
        ),
        ("", {}, {"listen": "a:65535"}, "--listen: no port after 65535 for agents; give --agent-listen"),
        ("", {}, {"advertise_agent_port": "0"}, "--advertise-agent-port: '0' is not a port; write a number from 1 to"),
        ("", {}, {"http": "0.0.0.0:7443"}, "listen, agent_listen, http and install_listen need ports of their own"),
        (
            "lease = 3",
            {"RALLYPOINT_HEARTBEAT": "5"},
            {},
            "heartbeat, suspect and lease must grow in this order, but are heartbeat 5 (RALLYPOINT_HEARTBEAT)",
        ),
    ],
)
def test_errors_name_the_source(
    tmp_path: Path, toml: str, environ: dict[str, str], flags: dict[str, str], text: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        settings(tmp_path, toml, environ, **flags)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_was_named_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"--config: .*nope\.toml does not exist; check the path"):
        load_settings({}, {}, str(tmp_path / "nope.toml"))
