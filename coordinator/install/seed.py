# The first half of Rallypoint's installer. The line that you pasted ran it because its SHA-256 is the one in that line.
# It fetches the second half, a wheel, from a coordinator that proves itself by the certificate authority below, checks
# it, and runs it with a Python that is new enough. Standard library only, and nothing that Python 3.7 does not know.
#
# A line that was printed once must hold when the coordinator is upgraded. So this file never changes: a test has its
# hash. What has to be done otherwise is done in the second half (agent/install).
import hashlib
import http.client
import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from typing import NoReturn

CA = """@CA@"""
SERVER_NAME = "coordinator.rallypoint.internal"
NEEDED = (3, 11)
NAMES = ("python3", "python3.11", "python3.12", "python3.13", "python3.14", "python3.15", "python")
RUN = "import runpy, sys; sys.path.insert(0, sys.argv.pop(1)); runpy.run_module('agent.install', run_name='__main__')"
SECONDS = 30


def end(text: str) -> NoReturn:
    """Say it on one line, and that nothing was done."""
    sys.exit("rallypoint: " + " ".join(text.split()) + " (nothing was installed)")


def plainly(kind: type, error: BaseException, _: object) -> None:
    """What nobody foresaw is said on one line too."""
    print(f"rallypoint: {kind.__name__}: {error} (nothing was installed)", file=sys.stderr)


class Line(http.client.HTTPSConnection):
    """A connection to a coordinator of the CA, by whatever address it is reached."""

    def connect(self) -> None:
        """Prove who answers before anything is asked."""
        context = ssl.create_default_context(cadata=CA)
        raw = socket.create_connection((self.host, self.port), SECONDS)
        self.sock = context.wrap_socket(raw, server_hostname=SERVER_NAME)


def fetch(address: str, path: str) -> bytes:
    """What the coordinator has there; ends the program when it can't be had."""
    try:
        line = Line(address, timeout=SECONDS)
        line.request("GET", path)
        answer = line.getresponse()
        content = answer.read()
    except ssl.SSLError as error:
        if getattr(error, "verify_code", 0) in (9, 10):
            clock = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            end(f"this host's clock says {clock}, when the coordinator's certificate is not good: set it right")
        end(f"who answers at {address} is not the coordinator that the line is for ({error}): check the address")
    except (OSError, http.client.HTTPException, ValueError) as error:
        end(f"no answer from {address} ({error}): check the address and the firewalls in between")
    if answer.status != 200:
        end("{} refused {} ({})".format(address, path, content[:300].decode("utf-8", "replace")))
    return content


def version(python: str) -> str:
    """The path of an interpreter that is new enough and makes environments; empty if this is none."""
    test = f"import sys, venv; print(sys.executable) if sys.version_info >= {NEEDED} else sys.exit(1)"
    try:
        done = subprocess.run([python, "-I", "-c", test], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.decode().strip() if done.returncode == 0 else ""


def by_uv(folder: str) -> "tuple[str, str]":
    """A Python that uv knows, or gets into ``folder``; else an empty path, and why."""
    uv = shutil.which("uv")
    if uv is None and "--uv" in sys.argv:
        place = os.path.join(folder, "uv")
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--target", place, "uv"]
        _, why = told(pip, os.environ)
        uv = shutil.which("uv", path=os.path.join(place, "bin"))
        if uv is None:
            return "", why
    if uv is None:
        return "", ""
    env = dict(os.environ, UV_PYTHON_INSTALL_DIR=os.path.join(folder, "python"))
    find = [uv, "python", "find", ">=3.11"]
    path, why = told(find, env)
    if not path:
        _, why = told([uv, "python", "install", "3.12"], env)
        path, _ = told(find, env)
    return (version(path) if path else ""), why


def told(command: "list[str]", env: "Mapping[str, str]") -> "tuple[str, str]":
    """What a program prints; nothing, and the reason, if it fails."""
    try:
        done = subprocess.run(command, env=dict(env), capture_output=True, timeout=900)
    except (OSError, subprocess.SubprocessError) as error:
        return "", str(error)
    said = done.stderr.decode("utf-8", "replace").strip().splitlines() or [f"it ended with {done.returncode}"]
    return ("", said[-1]) if done.returncode else (done.stdout.decode().strip(), "")


def find_python(folder: str) -> str:
    """An interpreter for Rallypoint; ends the program when there is none."""
    places = [sys.executable] + [shutil.which(name) or "" for name in NAMES]
    found = "" if "--uv" in sys.argv else next((path for path in map(version, filter(None, places)) if path), "")
    if found:
        return found
    found, why = by_uv(folder)
    if not found:
        end(
            "this host has Python {}.{}, and 3.11 or newer is needed: install it (apt install python3.11), or uv, or"
            " add --uv to the line, which gets one{}".format(
                sys.version_info[0], sys.version_info[1], "; uv: " + why if why else ""
            )
        )
    return found


def main() -> None:
    """Fetch, check, and hand over."""
    sys.excepthook = plainly
    address, pin, options = sys.argv[1], sys.argv[2], sys.argv[3:]
    manifest = json.loads(fetch(address, "/manifest.json").decode("utf-8"))
    wheel = manifest["wheel"]
    folder = ""
    try:
        folder = tempfile.mkdtemp(prefix="rallypoint-install-")
        python = find_python(folder)
        content = fetch(address, "/wheels/{sha256}/{name}".format(**wheel))
        if hashlib.sha256(content).hexdigest() != wheel["sha256"]:
            end("{name} is not the wheel that the coordinator's manifest names: run the line again".format(**wheel))
        path = os.path.join(folder, os.path.basename(wheel["name"]))
        for place, what in ((path, content), (os.path.join(folder, "ca.pem"), CA.encode())):
            with open(place, "wb") as file:
                file.write(what)
        told = ["--from", address, "--pin", pin, "--folder", folder, "--wheel", path]
        os.execv(python, [python, "-I", "-c", RUN, path, *told, *options])  # noqa: S606
    except OSError as error:
        end(f"a temporary directory can't be used ({error}): make room in it, or set TMPDIR to another one")
    finally:
        # Not when the second half goes on, which removes it at its own end.
        shutil.rmtree(folder, ignore_errors=True)


main()
