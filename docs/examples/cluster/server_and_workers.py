"""Linear regression with a parameter server, by torch.distributed: one group of nodes serves, the other one works.

In every step the server sends the parameters to all workers, gets the sum of the gradients on their shards of the data,
and goes one step down. At the end every rank prints the loss and the sum of its parameters' magnitudes, which agree.
The only argument is the server's address.
"""

import os
import sys
from pathlib import Path

import torch
import torch.distributed as dist

RANK = int(os.environ["DSTACK_NODE_RANK"])
NODES = int(os.environ["DSTACK_NODES_NUM"])
GROUP = os.environ.get("RALLYPOINT_GROUP_NAME", "")
PORT = int(os.environ["MASTER_PORT"])
STEPS = int(os.environ.get("STEPS", "100"))
RATE = 0.1  # how far one step goes
FEATURES, SAMPLES = 32, 600


def shard() -> tuple[torch.Tensor, torch.Tensor]:
    """Return this worker's part of the data, which are the same in every run, on its GPU if it was given one."""
    made = torch.Generator().manual_seed(7)
    inputs, truth = torch.randn(SAMPLES, FEATURES, generator=made), torch.randn(FEATURES, generator=made)
    targets = inputs @ truth + 0.1 * torch.randn(SAMPLES, generator=made)
    device = "cuda" if os.environ.get("CUDA_VISIBLE_DEVICES") and torch.cuda.is_available() else "cpu"
    mine = slice(RANK - 1, None, NODES - 1)
    return inputs[mine].to(device), targets[mine].to(device)


def gradient(parameters: torch.Tensor, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the gradient of the mean square error on this shard, and that error behind it."""
    error = inputs @ parameters[:-1].to(inputs.device) - targets
    slope = 2 * inputs.T @ error / len(targets)
    return torch.cat([slope, error.square().mean()[None]]).cpu()


def train() -> torch.Tensor:
    """Go all steps; return the parameters, with the last loss behind them."""
    state, data = torch.zeros(FEATURES + 1), None if RANK == 0 else shard()
    for step in range(1, STEPS + 1):
        dist.broadcast(state, 0)
        found = torch.zeros(FEATURES + 1) if data is None else gradient(state, *data)
        dist.reduce(found, 0)
        if RANK == 0:
            mean = found / (NODES - 1)
            state = torch.cat([state[:-1] - RATE * mean[:-1], mean[-1:]])
            if step == 1 or step % 10 == 0:
                print(f"step {step} loss {mean[-1]:.6f}", flush=True)
    dist.broadcast(state, 0)
    return state


def main() -> None:
    """Meet the others at the server, and train."""
    if NODES < 2 or len(sys.argv) != 2:
        sys.exit("a server needs a worker, and all need its address: server_and_workers.py ADDRESS")
    store = dist.TCPStore(sys.argv[1], PORT, NODES, RANK == 0, wait_for_workers=False)
    if RANK == 0:
        # It listens: the others may start.
        Path(os.environ["RALLYPOINT_READY_FILE"]).touch()
    dist.init_process_group("gloo", store=store, rank=RANK, world_size=NODES)
    state = train()
    print(f"rank {RANK} group {GROUP} loss {state[-1]:.6f} params {state[:-1].abs().sum():.6f}", flush=True)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
