"""Fields that dstack knows and this version does not: they get a "not supported yet" instead of "unknown"."""

from __future__ import annotations

_NO_SUCH = "name an 'image', or run commands on the host itself"

DSTACK_FIELDS: dict[str, str] = {
    # Containers and what is in them.
    "docker": _NO_SUCH,
    "nvcc": "use the CUDA that the hosts have, or an 'image' with it",
    "home_dir": _NO_SUCH,
    "setup": "put it in front of commands",
    "volumes": "name a folder that the hosts share in commands or env",
    "repos": "send files with 'files', or clone in the first command",
    "single_branch": "send files with 'files', or clone in the first command",
    "repo_dir": "send files with 'files', or clone in the first command",
    "ports": "a node's ports are the host's own",
    # Which machines may be taken, and what becomes of them.
    "availability_zones": "name regions with 'regions', or hosts with 'labels'",
    "instances": "name hosts with 'hosts'",
    "instance_name": "name hosts with 'hosts'",
    "reservation": "hosts here are never reserved at a provider, only used; name those that you reserved with 'hosts'",
    "creation_policy": "hosts are never created, only used",
    "idle_duration": "hosts are never ended, only used",
    "termination_policy": "hosts are never ended, only used",
    "termination_idle_time": "hosts are never ended, only used",
    "pool_name": "name hosts with 'fleets', 'hosts' or 'labels'",
    # Other names of what there is.
    "retry_policy": "write 'retry' instead",
    "tags": "use 'name'",
    # Fields of dstack's services and development environments.
    "ide": "only tasks run here",
    "version": "only tasks run here",
    "init": "only tasks run here",
    "inactivity_duration": "only tasks run here",
    "port": "only tasks run here",
    "gateway": "only tasks run here",
    "strip_prefix": "only tasks run here",
    "model": "only tasks run here",
    "https": "only tasks run here",
    "auth": "only tasks run here",
    "replicas": "only tasks run here",
    "scaling": "only tasks run here",
    "rate_limits": "only tasks run here",
    "probes": "only tasks run here",
}
"""Field -> what holds instead."""
