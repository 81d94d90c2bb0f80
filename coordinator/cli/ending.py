"""How a job's end is told: the exit code and the last line."""

from __future__ import annotations

from rallypoint.v1 import types_pb2 as pb

from coordinator.cli import exits, words


def exit_code(job: pb.Job) -> int:
    """The code that a command ends with for a job that has ended."""
    if job.state == pb.JOB_STATE_STOPPED:
        return exits.JOB_STOPPED
    if job.state == pb.JOB_STATE_DONE:
        return exits.OK
    # Codes above 255 do not exist, and a failed job must not look like success.
    return (job.exit_code & 0xFF) or exits.JOB_FAILED


def summary(job: pb.Job) -> str:
    """``job j-3 (search): failed with exit code 3 after 12s: rank 2 exited with 3``."""
    text = f"job {job.id} ({job.name}): {words.job_state(job)}"
    if job.state == pb.JOB_STATE_FAILED and job.HasField("exit_code"):
        text += f" with exit code {job.exit_code}"
    if job.started_at and job.ended_at:
        text += f" after {words.age(job.started_at, job.ended_at)}"
    return f"{text}: {job.reason}" if job.reason else text
