"""What planning is worth: days of a cluster's work, played through the production core under a virtual clock.

A *trace* is made from a seed in the shape of public ones (Philly, Helios, PAI): most jobs small and short, a few wide
and long, by day more than by night, durations stated too high if at all. A *policy* decides who is placed when; ours is
the core as it is, the others are what it is compared with. Hosts are trivial: what is placed runs for as long as it
takes, and ends. `python -m tests.sim.traces --seed N --jobs M` prints the figures.
"""
