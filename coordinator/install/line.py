"""The line that is pasted on a host, and the seed that it fetches."""

from __future__ import annotations

import functools
import hashlib
import shlex
from pathlib import Path

SEED_PATH = "/install"

# Who answers need not be known for this: only what it sends counts, and that is run only if it is the very text that
# the coordinator had when it printed the line. Then the seed goes on, with the CA that it holds.
_PYTHON = (
    "import hashlib,http.client,ssl,sys;"
    "a,p=sys.argv[1:3];"
    'sys.excepthook=lambda t,e,b:print("rallypoint: no answer from",a,"- check address and firewall:",e,'
    "file=sys.stderr);"
    "c=http.client.HTTPSConnection(a,timeout=30,context=ssl._create_unverified_context());"
    f'c.request("GET","{SEED_PATH}");'
    "s=c.getresponse().read();"
    'exec(s)if hashlib.sha256(s).hexdigest()==p else exit("rallypoint: "+a+" is not the coordinator that this line'
    ' was made for; nothing was run")'
)
# Without any Python uv gets one for the seed, into a folder that goes at the end. The seed, told --uv, has uv get it
# once more, out of its cache, for the installation.
_SHELL = (
    'command -v python3 >/dev/null && exec python3 -c "$@"; d=; '
    'end() { echo "rallypoint: python3 is missing$1 (nothing was installed)" >&2; [ -z "$d" ] || rm -rf "$d"; exit 1;'
    " }; "
    'command -v uv >/dev/null || end "; install it first (apt install python3, dnf install python3), or install uv'
    ' (https://docs.astral.sh/uv/), with which the line gets one by itself"; '
    'd=$(mktemp -d) || end ", and there can be no temporary directory for one: make room, or set TMPDIR"; '
    'export UV_PYTHON_CACHE_DIR="$d/cache"; py() { UV_PYTHON_INSTALL_DIR="$d" uv python "$@"; }; '
    "if w=$(py install 3.12 2>&1) && p=$(py find 3.12 2>&1); then :; else "
    'end ", and uv can get none ($(printf %s "$w $p" | tr "\\n" " ")): install one (apt install python3)"; fi; '
    '"$p" -c "$@" --uv; r=$?; rm -rf "$d"; exit $r'
)


@functools.cache
def seed(ca_pem: bytes) -> bytes:
    """What the line fetches from a coordinator of this CA. The same for as long as the CA is."""
    text = Path(__file__).with_name("seed.py").read_text(encoding="utf-8")
    return text.replace("@CA@", ca_pem.decode().strip() + "\n").encode()


def pin(ca_pem: bytes) -> str:
    """The SHA-256 (hexadecimal) of this cluster's seed: what the line trusts, and nothing else."""
    return hashlib.sha256(seed(ca_pem)).hexdigest()


def install_line(address: str, ca_pem: bytes) -> str:
    """The line for hosts that reach the coordinator's installer at ``HOST:PORT``. There is no secret in it."""
    return shlex.join(["sh", "-c", _SHELL, "rallypoint", _PYTHON, address, pin(ca_pem)])
