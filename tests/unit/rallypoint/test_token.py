"""Join tokens as text, addresses, and version numbers."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rallypoint.address import Address, BadAddress, parse_address
from rallypoint.token import TokenDamaged, TokenText, format_token, hash_secret, new_secret, parse_token, pin_of
from rallypoint.version import PROTOCOL_VERSION, Skew, __version__, skew_of

ROOT = Path(__file__).parents[3]
TOKEN = TokenText("c0ffee12", pin_of(b"a key"), "0badcafe", "s" * 32)
TEXT = format_token(TOKEN)


def test_there_and_back() -> None:
    assert parse_token(f"  {TEXT}\n") == TOKEN
    assert TEXT.startswith("rp1.c0ffee12.")


def test_the_secret_does_not_show() -> None:
    assert TOKEN.secret not in repr(TOKEN)
    assert len(new_secret()) == 32
    assert new_secret() != new_secret()
    assert TOKEN.secret not in hash_secret(TOKEN.secret)


@given(st.integers(4, len(TEXT) - 1))
def test_a_cut_is_noticed(length: int) -> None:
    with pytest.raises(TokenDamaged, match=r"damaged .*: copy the whole line"):
        parse_token(TEXT[:length])


@given(st.integers(4, len(TEXT) - 1), st.characters(codec="ascii", exclude_categories=["Z", "C"]))
def test_a_slip_is_noticed(place: int, typed: str) -> None:
    slipped = TEXT[:place] + typed + TEXT[place + 1 :]
    if slipped == TEXT:
        return
    with pytest.raises(TokenDamaged):
        parse_token(slipped)


@given(st.text())
def test_any_other_text_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(TokenDamaged) as failure:
        parse_token("MARK" + text)
    assert "MARK" not in str(failure.value)
    assert "coordinator token create" in str(failure.value)


@pytest.mark.parametrize(
    ("text", "address"),
    [("host:7000", ("host", 7000)), ("10.0.0.4:0", ("10.0.0.4", 0)), (" [::1]:65535 ", ("::1", 65535))],
)
def test_addresses(text: str, address: tuple[str, int]) -> None:
    assert parse_address(text) == address
    assert parse_address(str(Address(*address))) == address


@pytest.mark.parametrize(
    "text", ["", "host", "host:", ":7000", "host:x", "host:65536", "host:-1", "::1:70", "[]:1", "host:²"]
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(BadAddress, match="HOST:PORT"):
        parse_address(text)


def test_versions() -> None:
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == __version__
    assert skew_of(PROTOCOL_VERSION, PROTOCOL_VERSION) is Skew.NONE


@pytest.mark.parametrize(
    ("theirs", "skew"),
    [
        ("3.4", Skew.OLDER),
        ("3.5", Skew.NONE),
        ("3.6", Skew.NONE),
        ("3.7", Skew.NONE),
        ("3.8", Skew.NEWER),
        ("3.10", Skew.NEWER),
        ("2.6", Skew.OTHER),
        ("4.6", Skew.OTHER),
        *((text, Skew.OTHER) for text in ("", "3", "3.", "3.x", "3.-6", "3.6.1")),
    ],
)
def test_one_minor_apart_works_and_another_major_never(theirs: str, skew: Skew) -> None:
    assert skew_of(theirs, "3.6") is skew
