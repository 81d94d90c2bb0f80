"""Live output in a real browser: bytes of any kind, lines of any length, and never anything but text."""

from __future__ import annotations

from typing import Any

import pytest

from coordinator.core.model import NodeState
from tests.browser.conftest import RunningSite
from tests.browser.test_pages import _overflow, _shoot
from tests.fakes.reader import job, node

pytestmark = [pytest.mark.browser, pytest.mark.timeout(90)]


def _open(page: Any, site: RunningSite, query: str = "") -> None:
    running = job(1, name="train-digits")
    site.do(site.reader.put_job(running, *(node(running, rank, log_bytes=100) for rank in range(4))))
    page.goto(f"/jobs/j-1{query}")
    page.wait_for_selector("#logs-state:has-text('Live')")


def _shown(page: Any) -> str:
    text: str = page.evaluate("document.getElementById('output').textContent")
    return text


def _wait_shown(page: Any, text: str) -> None:
    page.wait_for_function("text => document.getElementById('output').textContent.includes(text)", arg=text)


def test_output_and_nodes_are_live(signed_in: Any, site: RunningSite) -> None:
    _open(signed_in, site)
    for epoch in range(40):
        site.do(site.logs.append("j-1", 0, f"epoch {epoch:2}  loss {2.3 / (epoch + 1):.4f}\n".encode()))
    _wait_shown(signed_in, "epoch 39")
    _shoot(signed_in, "job-light")
    signed_in.emulate_media(color_scheme="dark")
    _shoot(signed_in, "job-dark")
    site.do(site.reader.put_job(job(1), node(job(1), 2, NodeState.FAILED, exit_code=137, reason="out of memory")))
    signed_in.wait_for_selector("[data-rank='2'] .badge[data-state=failed]")
    assert "out of memory" in signed_in.inner_text("[data-rank='2']")
    site.do(site.logs.append("j-1", 0, b"the end\n", complete=True))
    signed_in.wait_for_selector("#logs-state:has-text('Complete')")
    assert _shown(signed_in).endswith("the end\n")


def test_markup_in_output_and_names_is_only_text(signed_in: Any, site: RunningSite) -> None:
    attack = "<script>window.hit=1</script><img src=x onerror=window.hit=1>"
    site.do(site.reader.put_job(job(2, name=attack, reason=attack)))
    signed_in.wait_for_selector("[data-job=j-2]")
    _open(signed_in, site)
    site.do(site.logs.append("j-1", 0, attack.encode() + b"\n"))
    _wait_shown(signed_in, attack)
    signed_in.goto("/jobs/j-2")
    signed_in.wait_for_selector("#job h1")
    assert signed_in.inner_text("#job h1") == attack
    assert signed_in.evaluate("window.hit === undefined")


def test_bytes_that_are_no_text_and_letters_cut_in_two(signed_in: Any, site: RunningSite) -> None:
    _open(signed_in, site)
    letter = "é".encode()
    site.do(site.logs.append("j-1", 0, b"a" + letter[:1]))
    _wait_shown(signed_in, "a")
    site.do(site.logs.append("j-1", 0, letter[1:] + bytes([0, 1, 255, 254]) + b"b\x1b[31mred\x1b[0m\n"))
    _wait_shown(signed_in, "red")
    assert _shown(signed_in) == "aé␀␁��bred\n"


def test_progress_bars_rewrite_their_line(signed_in: Any, site: RunningSite) -> None:
    _open(signed_in, site)
    site.do(site.logs.append("j-1", 0, b"start\r\n" + b"".join(b"\r%3d %%" % n for n in range(101)) + b"\ndone\n"))
    _wait_shown(signed_in, "done")
    assert _shown(signed_in) == "start\n100 %\ndone\n"


def test_a_very_long_line_and_much_output_leave_the_page_usable(signed_in: Any, site: RunningSite) -> None:
    _open(signed_in, site, "?rank=1")
    site.do(site.logs.append("j-1", 1, b"y" * 3_000_000))
    site.do(site.logs.append("j-1", 1, b"\n" + b"\n".join(b"line %d" % n for n in range(20_000)) + b"\nlast\n"))
    _wait_shown(signed_in, "last\n")
    assert len(_shown(signed_in)) < 1_200_000
    assert "download it to have all" in signed_in.inner_text("#logs-note")
    assert _overflow(signed_in) <= 0
    with signed_in.expect_download() as download:
        signed_in.click("#download")
    assert download.value.suggested_filename == "train-digits-1.log"
    assert download.value.path().stat().st_size == 3_000_000 + 1 + sum(len(f"line {n}\n") for n in range(20_000)) + 5


def test_another_rank_is_chosen_from_the_table(signed_in: Any, site: RunningSite) -> None:
    _open(signed_in, site)
    site.do(site.logs.append("j-1", 3, b"I am rank three\n"))
    signed_in.click("[aria-label='Show output of rank 3']")
    _wait_shown(signed_in, "rank three")
    assert signed_in.url.endswith("?rank=3")
    assert signed_in.input_value("#rank") == "3"
