"""Following a job: its output and what becomes of it, until it has ended and all of its output is here."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING

from rallypoint.v1 import job_service_pb2 as job_pb
from rallypoint.v1 import types_pb2 as pb

from coordinator.cli import words
from coordinator.cli.ending import summary
from coordinator.cli.output import RankedLines, Screen
from coordinator.cli.preparing import Preparing, prepares
from coordinator.failures import Unreachable
from coordinator.gaps import mark

if TYPE_CHECKING:
    from coordinator.client import Client

_FAILED_SHOWN = 20
# Where the nodes of a job are is said of jobs with at most so many.
_HOSTS_OF = 1000
_AWAY = "no contact with the coordinator; trying again (the job goes on)"


def print_output(pieces: Iterable[job_pb.TailLogsResponse], screen: Screen, *, ranked: bool) -> None:
    """Print pieces of output; ``ranked`` puts the rank before each line. What was dropped is told on standard error."""
    if not ranked:
        for piece in pieces:
            if piece.dropped_bytes:
                screen.say(mark(piece.dropped_bytes, piece.drop_reason))
            screen.write(piece.data)
        return
    lines = RankedLines(screen, colours=screen.colours)
    try:
        for piece in pieces:
            if piece.dropped_bytes:
                lines.end(piece.rank)
                screen.say(f"[{piece.rank}] {mark(piece.dropped_bytes, piece.drop_reason)}")
            lines.feed(piece.rank, piece.attempt, piece.data)
    finally:
        lines.flush()


def follow(client: Client, job: pb.Job) -> pb.Job:
    """Print the job's output and state as they come; the job as it ended. Leaves the job running when interrupted."""
    screen = Screen()
    watcher = threading.Thread(target=_watch, args=(client, job, screen), daemon=True)
    watcher.start()
    try:
        pieces = client.tail(job.id, follow=True, on_away=lambda: screen.say(_AWAY))
        print_output(pieces, screen, ranked=job.spec.nodes > 1)
        ended = client.wait(job.id)
        failed = list(client.nodes(job.id, states=[pb.NODE_STATE_FAILED], limit=_FAILED_SHOWN))
    except Unreachable as error:
        back = f"the job goes on; follow it again with: coordinator logs -f {job.id}"
        raise Unreachable(f"{error}; {back}", error.reason, error.metadata) from None
    finally:
        screen.status("")
    watcher.join(timeout=5)
    _tell_end(ended, failed, screen)
    return ended


def _watch(client: Client, job: pb.Job, screen: Screen) -> None:
    from coordinator.failures import RallypointError

    hosts: dict[int, str] = {}
    last: object = None
    preparing = Preparing(screen.say)
    try:
        for change in client.watch(job.id, job_only=job.spec.nodes > _HOSTS_OF):
            hosts.update({node.rank: node.host_name for node in change.nodes if node.host_name})
            text = _status(change.job, hosts)
            # In a log file, a line for every node that starts or ends would bury the output.
            news = text if screen.live else (change.job.state, "" if prepares(change.job) else change.job.reason)
            if news != last:
                last = news
                screen.status(text)
            preparing.hear(change.job)
    except RallypointError:
        return  # the output's stream meets the same trouble and reports it
    except ValueError:
        return  # the channel was closed: the command is ending


def _status(job: pb.Job, hosts: dict[int, str]) -> str:
    if job.state in (pb.JOB_STATE_DONE, pb.JOB_STATE_FAILED, pb.JOB_STATE_STOPPED):
        return ""  # the last line says it
    text = f"job {job.id} ({job.name}): {words.job_state(job)}"
    if job.state == pb.JOB_STATE_QUEUED:
        return f"{text}: {job.reason}" if job.reason else text
    names = sorted(set(hosts.values()))
    where = f" on {', '.join(names[:4])}{', …' if len(names) > 4 else ''}" if names else ""
    return f"{text}, {words.counts(job)}{where}"


def _tell_end(job: pb.Job, failed: list[pb.Node], screen: Screen) -> None:
    if failed and job.spec.nodes > 1:
        from coordinator.cli.results import print_nodes

        screen.say("")
        print_nodes(failed, to_stderr=True)
        if job.counts.failed > len(failed):
            more = job.counts.failed - len(failed)
            screen.say(f"… and {more} more failed: 'coordinator show {job.id} --nodes failed'")
    screen.say(summary(job))
