"""The parent of all tasks: a small process without gRPC that outlives the agent.

It spawns, watches, signals and reaps; it keeps the journal from which exit codes survive every crash; it ends tasks
that run too long or whose host has lost its lease, whether or not an agent is there to ask for it. The daemon
(`agent.runner`) talks to it over a Unix socket in the state directory; `agent.spawner.wire` is their language.

This package imports as little as it can (no asyncio, no dataclasses, no subprocess): what it imports stays in the
memory of every host for as long as the host is up.
"""
