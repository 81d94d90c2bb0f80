"""The installer: makes a machine a host, or repairs or upgrades one. Run by the line of `coordinator token create
--show-install`, out of the coordinator's wheel, with the host's own Python, before anything is installed.

So it imports only the standard library and what of this distribution does the same. It builds the new beside the old,
switches by a rename, and undoes all that it did when a step fails: there is the whole, or what was there before.
"""
