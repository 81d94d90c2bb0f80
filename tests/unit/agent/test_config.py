"""Where a setting comes from, and what is said about one that can't be used."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.config import ConfigError, Settings, load, save_joined
from agent.facts import HostFacts
from agent.values import split_address


def settings(tmp_path: Path, flags: dict[str, object] | None = None, **environ: str) -> Settings:
    variables = {f"RALLYPOINT_AGENT_{key.upper()}": value for key, value in environ.items()}
    return load({"state_dir": tmp_path, **(flags or {})}, variables)


def test_flags_go_before_environment_before_file_before_what_was_given_at_join(tmp_path: Path) -> None:
    save_joined(tmp_path, {"backend": "joined", "region": "joined", "network": "joined", "price": 1.5, "spot": True})
    (tmp_path / "agent.toml").write_text(
        'backend = "file"\nregion = "file"\nname = "file"\n[labels]\na = "1"\nb = "1"\n'
    )
    found = settings(tmp_path, {"name": "flag", "labels": ("b=3",)}, region="env", name="env", labels="c=2")
    assert (found.backend, found.region, found.name, found.network) == ("file", "env", "flag", "joined")
    assert (found.price, found.spot) == (1.5, True)
    assert found.labels == {"a": "1", "b": "3", "c": "2"}


def test_what_an_owner_states_becomes_facts(tmp_path: Path) -> None:
    (tmp_path / "agent.toml").write_text('fleet = "night"\nephemeral = true\nprice = 2\n')
    stated = settings(tmp_path, {"instance_type": "p4d.24xlarge"}, spot="yes", network="a").facts
    wanted = HostFacts(
        "local", "local", "a", 2.0, {}, spot=True, instance_type="p4d.24xlarge", fleet="night", ephemeral=True
    )
    assert stated == wanted


def test_defaults_serve_someone_who_gives_nothing(tmp_path: Path) -> None:
    found = settings(tmp_path)
    assert found == Settings(state_dir=tmp_path)
    assert (found.peer_address, found.master_port_range, found.price) == (("0.0.0.0", 7433), (20000, 29999), None)


def test_sizes(tmp_path: Path) -> None:
    found = settings(tmp_path, {"log_keep": "64 mb", "disk_reserve": "1.5GB"}, log_keep_all="2GB")
    assert (found.log_keep, found.disk_reserve, found.log_keep_all) == (64 << 20, 3 << 29, 2 << 30)


def test_state_dir_by_environment(tmp_path: Path) -> None:
    assert load({}, {"RALLYPOINT_AGENT_STATE_DIR": str(tmp_path)}).state_dir == tmp_path


def test_joined_facts_of_every_kind_come_back(tmp_path: Path) -> None:
    save_joined(tmp_path, {"backend": 'say "hi"\\\n', "labels": {"a b": "c=d"}})
    found = settings(tmp_path)
    assert (found.backend, found.labels) == ('say "hi"\\\n', {"a b": "c=d"})


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("price", "cheap", "'cheap' is not a price; give USD an hour, like 2.5"),
        ("price", "-1", "'-1' is not a price; give USD an hour, like 2.5"),
        ("cpus", "0", "'0' is not a number of CPUs; give a whole number from 1 on"),
        ("labels", "gpu", "['gpu'] are no labels; write KEY=VALUE"),
        ("master_port_range", "5-1", "['5', '1'] is not a range of ports; write LOW-HIGH, like 20000-29999"),
        (
            "peer_listen",
            "localhost",
            "'localhost' is not an address to listen on; write HOST:PORT, port 0 for any free one",
        ),
        ("spot", "maybe", "'maybe' is neither true nor false"),
        ("log_keep", "256", "'256' is not a size of 1MB or more; write a number and MB, GB or TB, like 256MB"),
        ("disk_reserve", "0.1MB", "'0.1MB' is not a size of 1MB or more; write a number and MB, GB or TB, like 256MB"),
    ],
)
def test_a_bad_value_names_its_source_and_the_way_out(tmp_path: Path, name: str, value: str, message: str) -> None:
    with pytest.raises(ConfigError) as by_environment:
        settings(tmp_path, **{name: value})
    assert str(by_environment.value) == f"RALLYPOINT_AGENT_{name.upper()}: {message}"
    with pytest.raises(ConfigError) as by_flag:
        settings(tmp_path, {name: value})
    assert str(by_flag.value) == f"--{name.replace('_', '-')}: {message}"


def test_an_unknown_key_in_the_file_gets_the_nearest_name(tmp_path: Path) -> None:
    (tmp_path / "agent.toml").write_text('backnd = "x"\n')
    with pytest.raises(ConfigError, match=r"agent\.toml: backnd: no such setting; did you mean 'backend'\?"):
        settings(tmp_path)


def test_files_that_are_missing_or_no_toml_say_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no such file; name an agent.toml that exists with --config"):
        load({"state_dir": tmp_path}, {}, tmp_path / "other.toml")
    (tmp_path / "agent.toml").write_text("backend")
    with pytest.raises(ConfigError, match=r"not TOML: .*mend that line"):
        settings(tmp_path)


@pytest.mark.parametrize(
    ("text", "address"), [("1.2.3.4:5", ("1.2.3.4", 5)), ("[::1]:0", ("::1", 0)), (":9", ("0.0.0.0", 9))]
)
def test_addresses(text: str, address: tuple[str, int]) -> None:
    assert split_address(text) == address


@pytest.mark.parametrize("text", ["a:1,[::1]:2", ("a:1", "[::1]:2"), ["a:1, [::1]:2"]])
def test_the_coordinators_addresses(tmp_path: Path, text: object) -> None:
    assert settings(tmp_path, {"coordinator": text}).coordinator == ("a:1", "[::1]:2")


def test_the_coordinators_addresses_by_environment_and_file(tmp_path: Path) -> None:
    (tmp_path / "agent.toml").write_text('coordinator = ["a:1", "b:2"]\n')
    assert settings(tmp_path).coordinator == ("a:1", "b:2")
    assert settings(tmp_path, coordinator="c:3").coordinator == ("c:3",)


@pytest.mark.parametrize("text", ["a", "a:0", "http://a:1"])
def test_an_address_of_the_coordinator_that_cannot_be(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=r"--coordinator: .*write HOST:PORT"):
        settings(tmp_path, {"coordinator": (text,)})
