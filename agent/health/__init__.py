"""How this host's GPUs do: signs of bad health, seen here, kept until the coordinator has them, judged there.

:class:`~agent.health.model.Evidence` is one sign that was seen. `rules` says (purely) what a reading of NVML means,
`watch` keeps what must be remembered between readings, `ledger` what must outlive the agent, and `holders` knows whose
work a GPU was doing at what moment. The agent only reports; no state like "suspect" exists on this side.
"""
