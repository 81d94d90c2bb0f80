"""What the pages say of XIDs is what the tables say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from coordinator.core.evidence import Condition, Evidence, Sign
from coordinator.core.verdicts import Grip, is_fine, verdict
from coordinator.core.xids import CATALOGUE, Action

PAGE = Path(__file__).parents[3] / "docs" / "health.md"
FOLLOWS = {
    Grip.PROGRAM: "counted",
    Grip.WATCH: "suspect",
    Grip.REPEAT: "suspect, fenced the second time",
    Grip.LET_END: "fenced; goes on",
    Grip.MOVE: "fenced; stopped",
    Grip.END: "fenced; killed",
}
# Those that issue 5 names.
NAMED = (13, 31, 43, 45, 68, 109, 48, 62, 63, 64, 74, 79, 92, 94, 95, 119, 120, 136, 140, 143, *range(151, 159))


def test_the_page_has_the_tables_of_the_code() -> None:
    found = re.findall(r"^\| (\d+) \| (.+?) \| `(.+?)` \| (.+?) \|$", PAGE.read_text(), re.MULTILINE)
    assert {int(code) for code, *_ in found} >= set(NAMED)
    for code, name, action, follows in found:
        meaning = verdict(Evidence("", Sign.XID, int(code)))
        scope = " (the host)" if meaning.host else ""
        xid = CATALOGUE[int(code)]
        assert (name, action, follows) == (xid.description, xid.action.value, FOLLOWS[meaning.grip] + scope)


@pytest.mark.parametrize("code", [13, 31, 43, 45, 68, 109])
def test_what_looks_like_the_programs_fault_is_only_counted(code: int) -> None:
    assert verdict(Evidence("", Sign.XID, code)).grip is Grip.PROGRAM


def test_what_asks_for_a_reset_or_more_is_fenced_and_says_so() -> None:
    mend = (Action.RESET_GPU, Action.RESTART_BM, Action.RESTART_VM, Action.WORKFLOW_XID_48, Action.WORKFLOW_NVLINK_ERR)
    for code in NAMED:
        meaning = verdict(Evidence("", Sign.XID, code))
        if CATALOGUE[code].action in mend and code != 109:
            assert meaning.grip >= Grip.LET_END
            assert meaning.blames
            assert "NVIDIA asks for a re" in meaning.advice
        assert meaning.host == (code == 79)


def test_every_sign_has_a_meaning() -> None:
    for sign in Sign:
        for code in (-1, 0, 1, 2, 3, 4, 5, 6, 7, 1 << 40):
            assert is_fine(Condition(sign, code)) or verdict(Condition(sign, code)).text
    assert verdict(Condition(Sign.RECOVERY_ACTION, 2)).host
