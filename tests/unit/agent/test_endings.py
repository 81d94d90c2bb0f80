"""What is told of a program that failed: the cause, which it says last; and why it is tried again."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from agent.containers.command import ending
from agent.containers.images import Images
from agent.containers.model import NotReady, Runtime

_CAUSE = "dial tcp: lookup nobody.invalid: no such host"
_RUNTIME = f"""#!/bin/sh
[ "$1" = pull ] || exit 1
echo "Trying to pull"
echo "Error: {"initializing source " * 30}{_CAUSE}" >&2
exit 125
"""


def test_of_much_the_end_is_kept_from_a_word_on() -> None:
    assert ending("no such host", 12) == "no such host"
    assert ending("registry: no such host", 14) == "…no such host"
    assert ending("registry: no such host", 12) == "…such host"
    assert ending("x" * 20, 5) == "…xxxx"


def test_why_an_image_is_not_pulled_is_said_meanwhile_and_in_the_end(tmp_path: Path) -> None:
    program = tmp_path / "runtime"
    program.write_text(_RUNTIME)
    program.chmod(0o755)
    told: list[str] = []
    images = Images(tmp_path, keep=1, seconds=30.0, pauses=(0.01,))
    with pytest.raises(NotReady) as failure:
        asyncio.run(images.get(Runtime("podman", str(program)), "nobody.invalid/a:1", None, told.append))
    assert str(failure.value).endswith(_CAUSE)
    assert told[0] == "pulling nobody.invalid/a:1: asking the registry"
    again = next(index for index, text in enumerate(told) if "again in" in text)
    assert told[again].endswith(_CAUSE)
    # While it is asked a second time, too.
    meanwhile = next(text for text in told[again:] if "Trying to pull" in text)
    assert "(failed before: …" in meanwhile
    assert meanwhile.endswith(f"{_CAUSE})")
