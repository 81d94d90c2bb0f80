"""User data for cloud-init: a machine that boots with it installs the agent and joins."""

from __future__ import annotations

from textwrap import indent

_SCRIPT = """\
#!/bin/sh
# What is stated of these machines, as options of 'agent join':
#   set -- --backend my-cloud --region north --price 1.20 --spot --ephemeral
set --
# The network, or the coordinator, may not be there yet.
for pause in 0 10 30 60 120 300; do
  sleep "$pause"
  if {line} --token-file /root/rallypoint-token "$@"; then
    rm -f /root/rallypoint-token
    exit 0
  fi
done
rm -f /root/rallypoint-token
exit 1
"""
_DOCUMENT = """\
#cloud-config
# Makes a machine a host of Rallypoint when it first boots. There is a join token in here: whoever reads this can have
# hosts join for as long as the token is good. 'coordinator token create --show-user-data' prints it, filled in.
write_files:
  - path: /root/rallypoint-token
    permissions: "0600"
    content: {token}
  - path: /root/rallypoint-install
    permissions: "0700"
    content: |
{script}runcmd:
  - [sh, /root/rallypoint-install]
"""


def user_data(line: str, token: str) -> str:
    """The document, with the ``line`` that installs (see ``coordinator.install``), and a join token."""
    return _DOCUMENT.format(token=token, script=indent(_SCRIPT.format(line=line), " " * 6))
