"""`agent check`: is each GPU of this host fit for work? First by what its driver says, then by work that it is given.

`quick` judges a reading (pure), `burn` gives work to GPUs in processes of their own, `command` is what people run.
"""
