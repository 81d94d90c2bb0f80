"""Train a small network on the handwritten digits with DistributedDataParallel; start it with torchrun.

Rank 0 prints the loss of every epoch. At the end every rank prints its loss and the sum of its parameters' magnitudes.
All agree.
"""

import gc
import os
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.parallel import DistributedDataParallel

EPOCHS = int(os.environ.get("EPOCHS", "10"))
BATCH = 32  # images a rank and step
CHECKPOINT_DIR = os.environ.get("CHECKPOINT_DIR")  # none are kept where this is not set


def choose_device() -> torch.device:
    """Return this process's GPU, or the CPU on a node that was given none."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    torch.cuda.set_device(device)
    return device


def load_data(device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Return all images (0 to 1 a pixel) and their labels."""
    images, labels = load_digits(return_X_y=True)
    return torch.tensor(images / 16, dtype=torch.float32, device=device), torch.tensor(labels, device=device)


def newest_checkpoint() -> dict[str, Any] | None:
    """Return the newest checkpoint that any rank has, to all ranks alike; none when nobody has one.

    Hosts need not share a disk: a host that is new in the group gets the checkpoint from one that was there before.
    """
    mine = None
    if CHECKPOINT_DIR and (path := checkpoint_path()).exists():
        mine = torch.load(path, map_location="cpu", weights_only=True)
    epochs: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(epochs, mine["epoch"] if mine else 0)
    box = [mine]
    dist.broadcast_object_list(box, src=epochs.index(max(epochs)))
    return box[0]


def save_checkpoint(epoch: int, loss: float, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Keep the state after this many epochs, once a host; the file is replaced whole, never half-written."""
    if not CHECKPOINT_DIR or os.environ["LOCAL_RANK"] != "0":
        return
    target = checkpoint_path()
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_suffix(f".rank{dist.get_rank()}.tmp")  # hosts may share the folder
    state = {"epoch": epoch, "loss": loss, "model": model.state_dict(), "optimizer": optimizer.state_dict()}
    torch.save(state, partial)
    partial.replace(target)


def checkpoint_path() -> Path:
    return Path(CHECKPOINT_DIR or ".").expanduser() / "ddp.pt"


def train_epoch(
    epoch: int, data: tuple[torch.Tensor, torch.Tensor], model: nn.Module, optimizer: torch.optim.Optimizer
) -> float:
    """Go once through this rank's share of the images; return the mean loss over all ranks."""
    images, labels = data
    rank, world = dist.get_rank(), dist.get_world_size()
    # All ranks shuffle alike, from the epoch's number, so that shares are disjoint and a resumed run repeats them.
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(epoch))
    share = order[: len(order) // world * world][rank::world]  # equal shares: every rank takes equally many steps
    total = torch.zeros(2, device=images.device)
    for rows in share.split(BATCH):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(images[rows]), labels[rows])
        loss.backward()  # here DDP averages the gradients of all ranks
        optimizer.step()
        total += torch.stack([loss.detach() * len(rows), torch.tensor(len(rows), device=images.device)])
    dist.all_reduce(total)
    return float(total[0] / total[1])


def main() -> None:
    device = choose_device()
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    rank = dist.get_rank()

    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)).to(device)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    done, loss = 0, float("nan")
    if checkpoint := newest_checkpoint():
        network.load_state_dict(checkpoint["model"])
        optimizer.load_state_dict(checkpoint["optimizer"])
        done, loss = checkpoint["epoch"], checkpoint["loss"]
        if rank == 0:
            print(f"resumed after epoch {done}", flush=True)

    model = DistributedDataParallel(network)
    data = load_data(device)
    for epoch in range(done + 1, EPOCHS + 1):
        loss = train_epoch(epoch, data, model, optimizer)
        save_checkpoint(epoch, loss, network, optimizer)
        if rank == 0:
            print(f"epoch {epoch} loss {loss:.6f}", flush=True)

    parameters = sum(float(parameter.detach().double().abs().sum()) for parameter in network.parameters())
    print(f"rank {rank} loss {loss:.6f} params {parameters:.8f}", flush=True)
    # All leave together, and the model before the connections that it uses: torch aborts now and then if its threads
    # are still at work when Python ends.
    dist.barrier()
    del model
    gc.collect()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
