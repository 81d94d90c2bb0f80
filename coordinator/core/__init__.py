"""The decisions of the coordinator, pure: no clock, no I/O, no randomness.

Owns the words of docs/architecture.md: host, job, node, attempt, allocation, gang, group, network, offer, lease.
Time is always an argument; everything here runs unchanged in the simulator.
"""
