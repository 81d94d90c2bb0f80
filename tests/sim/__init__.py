"""A seeded simulator of a whole cluster: production decisions of both sides under a virtual clock, a lossy network,
hosts and daemons that die at any moment, and disks that keep only what was synced.

A *history* is one run from one seed; the same seed gives the same history, always. `ledger` holds what must never
happen, as seen from outside: real processes on hosts, what is on disks, what was acknowledged to whom.
`python -m tests.sim --seed N` replays one history.
"""
