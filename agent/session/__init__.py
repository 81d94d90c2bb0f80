"""The agent's contact with its coordinator: the only place in a running agent that knows gRPC and protobuf.

A *session* is one open stream of desired state, with an *epoch* that every report carries. :class:`Session` keeps one
open as long as it runs; :class:`Link` is the calls of one channel.
"""

from agent.session.contact import Session, SessionTimes
from agent.session.link import ContactLost, Introduction, Link, Refused

__all__ = ["ContactLost", "Introduction", "Link", "Refused", "Session", "SessionTimes"]
