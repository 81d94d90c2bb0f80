"""`make demo`: a coordinator and three agents on this machine, one job of each placement, all through the commands
that a user types. Nothing is left behind, and nothing outside a temporary directory is touched.

The three agents stand for three rented hosts: two providers, two prices. Needs no GPU, no root and no network.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "docs" / "examples"
BIN = Path(sys.executable).parent
START_SECONDS = 60.0
JOB_SECONDS = 300.0
HOSTS = (
    ("rack-1", "--backend", "own-rack", "--region", "cellar", "--price", "0"),
    ("cloud-1", "--backend", "cloud-a", "--region", "north", "--price", "0.40"),
    ("cloud-2", "--backend", "cloud-b", "--region", "south", "--price", "0.55"),
)


class DemoFailed(Exception):
    """A step of the demo did not work; the message says which."""


def main() -> int:
    """Run the demo; the exit code."""
    home = Path(tempfile.mkdtemp(prefix="rallypoint-demo-"))
    # SIGTERM ends the demo as Ctrl-C does, so that what it started is ended and removed too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    keep = False
    try:
        with contextlib.ExitStack() as stack:
            show(home, stack)
    except DemoFailed as error:
        keep = True
        print(f"demo: {error}\ndemo: the logs are in {home}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        if not keep:
            shutil.rmtree(home, ignore_errors=True)
    print("\nAll of it is stopped and removed. Next: README.md, 'Your own hosts'.")
    return 0


def show(home: Path, stack: contextlib.ExitStack) -> None:
    """The demo itself, under ``home``."""
    say("A coordinator, on this machine only")
    address = start_coordinator(home, stack)
    say("Three agents join it, each with a token used once; they stand for three hosts")
    for name, *facts in HOSTS:
        start_agent(home, stack, address, name, facts)
    wait_for_hosts(home)
    coordinator(home, "hosts")
    say("placement: any -- a hyperparameter search; each node runs wherever there is room")
    coordinator(home, "submit", str(EXAMPLES / "any" / "search.yml"), "--nodes", "9")
    say("placement: cluster -- a rendezvous group trains one model together")
    coordinator(home, "submit", str(EXAMPLES / "cluster" / "parameter-server.yml"))
    say("What ran")
    coordinator(home, "ps", "--all")


def say(text: str) -> None:
    """A headline."""
    print(f"\n== {text}", flush=True)


def environment(home: Path) -> dict[str, str]:
    """The caller's environment, with our commands first and everything of ours under ``home``."""
    own = {
        "PATH": f"{BIN}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "HOME": str(home / "home"),
        "RALLYPOINT_CONTEXT": str(home / "coordinator" / "admin.toml"),
    }
    if os.geteuid() == 0:
        # The demo's own folder is closed to others, as whom nodes would run by default.
        own["RALLYPOINT_AGENT_TASK_USER"] = "root"
    (home / "home").mkdir(exist_ok=True)
    return {**os.environ, **own}


def coordinator(home: Path, *arguments: str) -> None:
    """Type a ``coordinator`` command. Raises DemoFailed when it fails."""
    print(f"$ coordinator {' '.join(a.replace(str(ROOT) + os.sep, '') for a in arguments)}", flush=True)
    command = [BIN / "coordinator", *arguments]
    try:
        done = subprocess.run(command, env=environment(home), check=False, timeout=JOB_SECONDS)
    except subprocess.TimeoutExpired:
        raise DemoFailed(f"'coordinator {arguments[0]}' did not end within {JOB_SECONDS:g} s") from None
    if done.returncode:
        raise DemoFailed(f"'coordinator {arguments[0]}' ended with {done.returncode}")


def start_coordinator(home: Path, stack: contextlib.ExitStack) -> str:
    """Start it on free ports; the address that hosts join."""
    data = home / "coordinator"
    serve = ["serve", "--data-dir", str(data), "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"]
    process = stack.enter_context(daemon(home, "coordinator", "coordinator", *serve))
    endpoints = data / "endpoints.json"
    await_file(endpoints, process, home / "coordinator.log")
    address = str(json.loads(endpoints.read_text())["join"])
    print(f"it serves at {address}")
    return address


def start_agent(home: Path, stack: contextlib.ExitStack, address: str, name: str, facts: list[str]) -> None:
    """Join one host and start its agent."""
    env, state = environment(home), home / name
    token = subprocess.run([BIN / "coordinator", "token", "create"], env=env, check=True, stdout=subprocess.PIPE).stdout
    join = [BIN / "agent", "join", address, "--token-file", "-", "--state-dir", str(state), "--name", name, *facts]
    if subprocess.run(join, env=env, input=token, check=False).returncode:
        raise DemoFailed(f"host {name} could not join")
    run = ["run", "--state-dir", str(state), "--peer-listen", "127.0.0.1:0", "--cpus", "1"]
    stack.enter_context(daemon(home, name, "agent", *run))


def wait_for_hosts(home: Path) -> None:
    """Until every host is online and the three have found each other."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        listing = subprocess.run(
            [BIN / "coordinator", "hosts", "--json"], env=environment(home), check=True, stdout=subprocess.PIPE
        )
        networks = json.loads(listing.stdout)["networks"]
        if any(len(network["host_names"]) == len(HOSTS) for network in networks):
            return
        time.sleep(0.2)
    raise DemoFailed(f"the agents did not find each other within {START_SECONDS:g} s")


@contextlib.contextmanager
def daemon(home: Path, name: str, command: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process in the background with its log; ended on the way out."""
    with (home / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(
            [BIN / command, *arguments], env=environment(home), stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def await_file(path: Path, process: subprocess.Popen[bytes], log: Path) -> None:
    """Until ``path`` is there. Raises DemoFailed when the process ends first or it takes too long."""
    deadline = time.monotonic() + START_SECONDS
    while not path.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            raise DemoFailed(f"the coordinator did not start: {log.read_text().strip()[-400:]}")
        time.sleep(0.05)


if __name__ == "__main__":
    sys.exit(main())
