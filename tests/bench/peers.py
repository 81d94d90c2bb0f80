"""`python peers.py NAME FOLDER`: a peer's cluster with two workers; each line of input is a number of `/bin/true` to
run, each line of output the seconds that took. Started by `test_peer`, with the interpreter that has the peer."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

WORKERS = 2
# Before what is for the test; a peer prints what it likes.
MARK = "measured:"
Run = Callable[[int], float]


@contextmanager
def hyperqueue(folder: Path) -> Iterator[Run]:
    """One job of so many tasks, over two workers with as many processors as our hosts have."""
    import hyperqueue as hq
    from hyperqueue.cluster import LocalCluster, WorkerConfig

    with LocalCluster() as cluster:
        for _ in range(WORKERS):
            cluster.start_worker(WorkerConfig(cores=os.cpu_count()))
        client = cluster.client()

        def run(count: int) -> float:
            job, done = hq.Job(), folder / "done"
            tasks = [job.program(["/bin/true"], stdout=None, stderr=None) for _ in range(count)]
            # Its own wait looks once a second: a last task tells of the end at once.
            job.program(["/bin/touch", str(done)], stdout=None, stderr=None, deps=tasks)
            began = time.perf_counter()
            submitted = client.submit(job)
            while not done.exists():
                time.sleep(0.002)
            took = time.perf_counter() - began
            client.wait_for_jobs([submitted])
            done.unlink()
            return took

        yield run


@contextmanager
def parsl(folder: Path) -> Iterator[Callable[..., Any]]:
    """Two pools of as many workers as our hosts have processors."""
    import parsl as library
    from parsl.config import Config
    from parsl.executors import HighThroughputExecutor
    from parsl.providers import LocalProvider

    provider = LocalProvider(init_blocks=WORKERS, min_blocks=WORKERS, max_blocks=WORKERS)
    executor = HighThroughputExecutor(
        max_workers_per_node=os.cpu_count() or 1, provider=provider, address="127.0.0.1", loopback_address="127.0.0.1"
    )
    config = Config(executors=[executor], run_dir=str(folder / "runs"), usage_tracking=0, initialize_logging=False)

    def timed(app: Any) -> Run:
        def run(count: int) -> float:
            began = time.perf_counter()
            codes = [future.result() for future in [app() for _ in range(count)]]
            assert not any(codes)
            return time.perf_counter() - began

        return run

    with library.load(config):
        yield timed


@contextmanager
def parsl_bash(folder: Path) -> Iterator[Run]:
    """Parsl by its app for commands, which runs a shell."""

    def true() -> str:
        return "/bin/true"

    with parsl(folder) as timed:
        import parsl as library

        yield timed(library.bash_app(true))


@contextmanager
def parsl_python(folder: Path) -> Iterator[Run]:
    """Parsl by a function that starts the program itself: no shell, no file, and nobody told of its output."""

    def true() -> int:
        import os

        return os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0)[1]

    with parsl(folder) as timed:
        import parsl as library

        yield timed(library.python_app(true))


PEERS = {"hyperqueue": hyperqueue, "parsl_bash": parsl_bash, "parsl_python": parsl_python}
# The package that each one needs.
PACKAGES = {name: name.partition("_")[0] for name in PEERS}


def main(name: str, folder: Path) -> None:
    """Serve one peer."""
    os.chdir(folder)  # they write where they stand
    # Parsl starts programs that were installed beside this interpreter.
    os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    with PEERS[name](folder) as run:
        print(MARK, flush=True)
        for line in sys.stdin:
            print(MARK, run(int(line)), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
