"""What a machine needs to become a host, from the coordinator itself: one line, an installer, wheels.

*Line*: what a person pastes on the host. It fetches the *seed*, runs it only if its SHA-256 is the line's *pin*, and
needs nothing but Python. The *seed* holds the cluster's CA, fetches the wheel from a coordinator of that CA, and runs
the installer in it (``agent.install``). The *shelf* has the coordinator's own wheel, pip's, and the *wheelhouse*:
dependencies for hosts that reach no package index. The *manifest* names all of it by SHA-256.
"""
