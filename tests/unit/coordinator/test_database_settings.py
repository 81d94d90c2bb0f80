"""The database's URL: a password in it is taken only from where nobody else can read it, and is never repeated."""

from __future__ import annotations

from pathlib import Path

import pytest

from coordinator.settings import SettingsError, load_settings

URL = "postgresql://rally@db/rally"
SECRET = "postgresql://rally:hunter2@db/rally"


@pytest.mark.parametrize("url", [SECRET, URL + "?password=hunter2"])
def test_a_password_on_the_command_line_is_refused(tmp_path: Path, url: str) -> None:
    flags = {"data_dir": str(tmp_path), "database_url": url}
    with pytest.raises(
        SettingsError, match=r"^--database-url: other users can read a password on .* ~/\.pgpass$"
    ) as no:
        load_settings(flags, {})
    assert "hunter2" not in str(no.value)
    assert load_settings({**flags, "database_url": URL}, {}).database_url == URL


def test_a_password_comes_from_the_environment_or_a_private_file(tmp_path: Path) -> None:
    flags = {"data_dir": str(tmp_path)}
    assert load_settings(flags, {"RALLYPOINT_DATABASE_URL": SECRET}).database_url == SECRET
    file = tmp_path / "coordinator.toml"
    file.write_text(f'database_url = "{SECRET}"\n')
    file.chmod(0o644)
    with pytest.raises(
        SettingsError, match=rf"{file} holds a password and may be read .*: run 'chmod 600 {file}'"
    ) as no:
        load_settings(flags, {})
    assert "hunter2" not in str(no.value)
    file.chmod(0o600)
    assert load_settings(flags, {}).database_url == SECRET


def test_another_kind_of_database_is_refused_without_repeating_the_url(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="not a URL of PostgreSQL; write postgresql://USER@HOST/DATABASE") as no:
        load_settings({"data_dir": str(tmp_path)}, {"RALLYPOINT_DATABASE_URL": "mysql://a:hunter2@db/x"})
    assert "hunter2" not in str(no.value)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://rally@db:port/rally",
        "postgresql://rally@[::1/rally",
        "postgresql://rally:hun/ter2@db/rally",
        "postgresql://rally:hun@ter2@db/rally",
        "postgresql://rally:hun[ter2@db/rally",
    ],
)
@pytest.mark.parametrize("given", ["flag", "environment"])
def test_a_url_that_may_be_misread_is_refused_without_repeating_it(tmp_path: Path, url: str, given: str) -> None:
    flags = {"data_dir": str(tmp_path), **({"database_url": url} if given == "flag" else {})}
    with pytest.raises(SettingsError, match=r"not a URL that can be read; write postgresql://USER@HOST") as no:
        load_settings(flags, {"RALLYPOINT_DATABASE_URL": url})
    assert "hun" not in str(no.value)
    assert "ter2" not in str(no.value)
