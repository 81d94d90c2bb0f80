#!/bin/sh
# In a container: join with the first start, run from then on. Facts of the host come by RALLYPOINT_AGENT_BACKEND and
# the like, as everywhere.
#   RALLYPOINT_JOIN_ADDRESS  HOST:PORT at which hosts join
#   RALLYPOINT_TOKEN_FILE    a file with a join token; /run/secrets/rallypoint-token if that is not set
set -eu

# Any other command than "run" is just that.
case "${1:-run}" in run) ;; *) exec agent "$@" ;; esac

state=${RALLYPOINT_AGENT_STATE_DIR:-/var/lib/rallypoint/agent}
if [ ! -e "$state/identity.json" ]; then
  token=${RALLYPOINT_TOKEN_FILE:-/run/secrets/rallypoint-token}
  if [ -z "${RALLYPOINT_JOIN_ADDRESS:-}" ]; then
    echo "RALLYPOINT_JOIN_ADDRESS is not set: give it the address that the coordinator printed, HOST:PORT" >&2
    exit 2
  fi
  if [ ! -r "$token" ]; then
    echo "$token can't be read: mount a join token there ('coordinator token create'), or name another file in RALLYPOINT_TOKEN_FILE" >&2
    exit 2
  fi
  # By standard input: a mounted secret is often readable by all who are in the container, which a token file may not be.
  agent join "$RALLYPOINT_JOIN_ADDRESS" --token-file - --state-dir "$state" <"$token"
fi
unset RALLYPOINT_TOKEN_FILE RALLYPOINT_JOIN_ADDRESS

[ $# -eq 0 ] || shift
exec agent run --state-dir "$state" "$@"
