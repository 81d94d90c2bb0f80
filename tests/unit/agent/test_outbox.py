"""What waits for a report: told once, unless nobody answered."""

from __future__ import annotations

from agent.core.model import Distance, Probe
from agent.session.outbox import Outbox
from agent.upgrade.trial import Progress, Step


def probe(host: str) -> Probe:
    return Probe(host, "10.0.0.1", 7433, reached=True)


def test_what_nobody_answered_goes_again_before_what_came_meanwhile() -> None:
    box = Outbox()
    box.probes += [probe("h-1")]
    box.distances += [Distance("s3", 0.1)]
    letter = box.take()
    assert (letter.empty, box.is_due, box.take().empty) == (False, False, True)
    box.probes += [probe("h-2")]
    box.put_back(letter)
    again = box.take()
    assert [found.host_id for found in again.probes] == ["h-1", "h-2"]
    assert again.distances == [Distance("s3", 0.1)]


def test_an_upgrade_is_told_until_an_answer_and_a_newer_step_is_not_lost_by_an_older_answer() -> None:
    box = Outbox()
    box.upgrade = installing = Progress(1, Step.INSTALLING)
    first = box.take()
    assert (first.upgrade, box.take().upgrade) == (installing, installing)
    box.upgrade = Progress(1, Step.RESTARTING)
    box.answered(first)
    second = box.take()
    assert second.upgrade == Progress(1, Step.RESTARTING)
    box.answered(second)
    assert box.take().empty
