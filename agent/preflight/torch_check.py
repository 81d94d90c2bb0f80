"""Runs by itself, in a node's own environment, with whatever Python (3.7 or later) and torch are there: measures every
GPU alone, and an all-reduce over all members. It is handed over as text, so it imports nothing of ours.

``RALLYPOINT_PREFLIGHT`` is a JSON object: the numbers of processes of all members (``counts``), which of them this is
(``rank``), whether each has a GPU (``gpus``), and ``seconds``. The last line that it prints is ``MARK`` and an object.
"""

from __future__ import annotations

import datetime
import importlib
import json
import os
import sys
import time
from typing import Any

MARK = "rallypoint-preflight "
# For others to come: they import torch as well.
MEET_SECONDS = 60

Said = dict[str, Any]


def main() -> None:
    """Measure and tell."""
    told = json.loads(os.environ["RALLYPOINT_PREFLIGHT"])
    pipes = []
    for local in range(told["counts"][told["rank"]]):
        # Before torch is there: what it starts does not survive a fork.
        reading, writing = os.pipe()
        if os.fork() == 0:
            os.close(reading)
            _child(told, local, writing)
        os.close(writing)
        pipes.append(reading)
    answers = [_read(pipe) for pipe in pipes]
    for _ in pipes:
        os.wait()
    print(MARK + json.dumps(_together(answers)), flush=True)


def _child(told: Said, local: int, pipe: int) -> None:
    answer: Said = {"problem": "it ended"}
    try:
        answer = _measure(told, local)
    except ImportError as error:
        answer = {"unable": f"no torch in {sys.executable} ({error})"}
    except Exception as error:
        answer = {"problem": _words(error)}
    finally:
        os.write(pipe, json.dumps(answer).encode())
        os._exit(0)


def _words(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0][:150]}"


def _read(pipe: int) -> Said:
    with os.fdopen(pipe, "rb") as file:
        said = file.read()
    found: Said = json.loads(said.decode()) if said else {"problem": "it was killed"}
    return found


def _together(answers: list[Said]) -> Said:
    """What a node's processes say, as one."""
    found: Said = {"devices": [each["device"] for each in answers if "device" in each]}
    for key in ("unable", "problem", "all_reduce"):
        said = [each[key] for each in answers if key in each]
        if said:
            found[key] = min(said) if key == "all_reduce" else said[0]
    return found


def _measure(told: Said, local: int) -> Said:
    torch = importlib.import_module("torch")
    seen = torch.cuda.device_count() if told["gpus"] else 0
    if told["gpus"] and seen <= local:
        return {"unable": f"torch {torch.__version__} sees {seen} GPUs, not {local + 1}"}
    where = torch.device("cuda", local) if told["gpus"] else torch.device("cpu")
    if told["gpus"]:
        torch.cuda.set_device(where)
    name = torch.cuda.get_device_name(where) if told["gpus"] else ""
    answer: Said = {"device": {"local": local, "name": name, "flops": _product(torch, where, told["seconds"])}}
    if sum(told["counts"]) > 1:
        try:
            answer["all_reduce"] = _all_reduce(torch, told, local, where)
        except Exception as error:
            answer["problem"] = _words(error)
    return answer


def _settle(torch: Any, where: Any) -> float:
    """The time once all that was asked of a device is done."""
    if where.type == "cuda":
        torch.cuda.synchronize(where)
    return time.monotonic()


def _product(torch: Any, where: Any, seconds: float) -> float:
    """Floating-point operations a second of a matrix product.

    Of a GPU, which nobody else uses, that is the mean. Of a CPU it is what the best product had on one core: others
    want the cores too, but let it have one for the part of a millisecond that a product takes.
    """
    on_gpu = where.type == "cuda"
    size, kind, at_once = (8192, torch.float16, 5) if on_gpu else (256, torch.float32, 1)
    if not on_gpu:
        torch.set_num_threads(1)
    one, other = (torch.rand(size, size, device=where).to(kind) for _ in range(2))
    for _ in range(3):
        torch.mm(one, other)
    began = last = _settle(torch, where)
    spent: list[float] = []
    while not spent or last - began < seconds:
        for _ in range(at_once):
            torch.mm(one, other)
        before, last = last, _settle(torch, where)
        spent.append((last - before) / at_once)
    return float(2.0 * size**3 / ((last - began) / len(spent) / at_once if on_gpu else min(spent)))


def _all_reduce(torch: Any, told: Said, local: int, where: Any) -> float:
    """Bits a second of the bus, as NCCL's own tests count them."""
    dist = importlib.import_module("torch.distributed")
    world, rank = sum(told["counts"]), sum(told["counts"][: told["rank"]]) + local
    on_gpu = where.type == "cuda"
    limit = datetime.timedelta(seconds=MEET_SECONDS)
    backend = "nccl" if on_gpu else "gloo"
    dist.init_process_group(backend, init_method="env://", world_size=world, rank=rank, timeout=limit)
    data = torch.ones((64 if on_gpu else 4) << 18, device=where)

    def timed(times: int) -> float:
        _settle(torch, where)
        dist.barrier()
        began = time.monotonic()
        for _ in range(times):
            dist.all_reduce(data)
        return (_settle(torch, where) - began) / times

    timed(2)
    # All take the same number, or some would wait for ever.
    times = torch.tensor([max(2, min(1000, int(told["seconds"] / max(timed(2), 1e-6))))], device=where)
    dist.broadcast(times, 0)
    taken = timed(int(times.item()))
    dist.destroy_process_group()
    return float(8.0 * data.numel() * 4 * 2 * (world - 1) / world / taken)


if __name__ == "__main__":
    main()
