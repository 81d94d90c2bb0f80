"""The supervisor: keeps an agent running where no systemd does (in a container, say).

A small process without gRPC. It starts the agent, again when that dies, passes signals on, watches its heartbeat and
bounds its log. ``agent.pid`` (its pid, locked while it lives) and ``supervisor.json`` (how things stand) in the state
directory are how `agent start | stop | status` talk about it. Killed, it leaves the agent running; the next supervisor
takes that agent over.
"""
