"""Whether an end is tried again. The class of the failure decides: a host's fault is, the program's own is not."""

from __future__ import annotations

from coordinator.core.model import EndCause, Job, Node

# So many attempts of one node, or generations of one gang, may be lost to hosts before the job is given up: a
# program that takes its hosts down with it must not walk through the whole fleet.
MAX_HOST_FAILURES = 3


def may_retry_node(node: Node, cause: EndCause | None) -> bool:
    """Whether a node of an ``any`` job whose attempt ended so is tried again on another host."""
    return cause is EndCause.HOST and node.host_failures < MAX_HOST_FAILURES - 1


def may_retry_gang(job: Job, cause: EndCause | None) -> bool:
    """Whether a gang that lost a member so is formed anew.

    An unreachable peer costs no budget: the broken link is known from then on and no group is formed over it.
    """
    if cause is EndCause.UNREACHABLE:
        return True
    return cause is EndCause.HOST and job.host_failures < MAX_HOST_FAILURES - 1
