"""HyperQueue on this machine in the same run, where it is installed (``pip install hyperqueue``): the fairest peer."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tests.bench.results import Figure, Results, median

pytestmark = [pytest.mark.bench, pytest.mark.timeout(120)]


def test_hyperqueue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, results: Results) -> None:
    """The same thousand nodes over two workers with as many processors as our hosts have."""
    hyperqueue = pytest.importorskip("hyperqueue", reason="needs HyperQueue; install it with: pip install hyperqueue")
    workers = pytest.importorskip("hyperqueue.cluster")
    monkeypatch.chdir(tmp_path)  # it writes where it stands
    with hyperqueue.LocalCluster() as cluster:
        for _ in range(2):
            cluster.start_worker(workers.WorkerConfig(cores=os.cpu_count()))
        client = cluster.client()
        rates = [rate(client, hyperqueue.Job()) for _ in range(3)]
    results.add(Figure("HyperQueue: 1,000 × /bin/true on two workers", median(rates), "a second", note="not durable"))


def rate(client: object, job: object) -> float:
    """Nodes a second of one job of a thousand."""
    for _ in range(1000):
        job.program(["/bin/true"], stdout=None, stderr=None)  # type: ignore[attr-defined]
    began = time.perf_counter()
    client.wait_for_jobs([client.submit(job)])  # type: ignore[attr-defined]
    return 1000 / (time.perf_counter() - began)
