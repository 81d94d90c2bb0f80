"""The task file that a user writes: read with line numbers, checked, and turned into a ``core.spec.JobSpec``.

Words owned here: *task* (what a file and the command line's options ask for, before its files are packed), *place*
(where a value was written: ``job.yml:7`` or ``--gpus``), *problem* (one error at one place: what, why, way out). Start
with ``task.load_task`` or ``task.task_from_command``; this package imports nothing by itself: commands start quickly.
"""
