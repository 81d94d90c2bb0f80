"""The ``coordinator`` command: one module a command, loaded when it is used, so that every start is quick.

Results, a job's output and ``--json`` documents go to standard output; everything said *about* them to standard error.
Exit codes are in ``exits``.
"""
