#!/bin/sh
# In a container: serve, or any other command of the coordinator (`podman exec NAME coordinator ps` does as well).
# RALLYPOINT_DATABASE_PASSWORD_FILE: a file with the password to the database, which so stands in no configuration.
set -eu

if [ -n "${RALLYPOINT_DATABASE_PASSWORD_FILE:-}" ]; then
  if [ ! -r "$RALLYPOINT_DATABASE_PASSWORD_FILE" ]; then
    echo "$RALLYPOINT_DATABASE_PASSWORD_FILE, which RALLYPOINT_DATABASE_PASSWORD_FILE names, can't be read by user $(id -u): mount the secret there, readable by that user" >&2
    exit 2
  fi
  PGPASSWORD=$(cat "$RALLYPOINT_DATABASE_PASSWORD_FILE")
  export PGPASSWORD
  unset RALLYPOINT_DATABASE_PASSWORD_FILE
fi

[ $# -gt 0 ] || set -- serve
exec coordinator "$@"
