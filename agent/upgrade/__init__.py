"""Upgrades of this very agent, ordered by the coordinator: install beside, switch, prove oneself, or go back.

    agent (old)    fetches the wheel, installs it in an environment of its own, has it check itself, writes down the
                   trial (``upgrade.json``), and starts
    the watcher    a process of the old version that outlives the agent: it switches ``current``, has the agent started
                   again, and waits
    agent (new)    ends the trial once it has been in contact for a moment; if it does not in time, the watcher
                   switches back. How it ended is in ``upgrade-ended.json`` until the coordinator knows.

At each moment ``current`` leads to a version that is complete. Tasks, spawner and reaper notice nothing: the spawner of
the old version goes on until its last task has ended.
"""
