"""Softmax regression on the handwritten digits with a parameter server, on plain sockets.

In every step the server sends the parameters to all workers, each answers with the gradient on its shard of the
images, and the server goes one step down their mean. At the end every rank prints the loss and the sum of its
parameters' magnitudes, which agree.
Messages are arrays of one fixed size, so nothing is ever unpickled from the network.
"""

import os
import socket
import sys
import time
from typing import Any

import numpy as np

RANK = int(os.environ["DSTACK_NODE_RANK"])
NODES = int(os.environ["DSTACK_NODES_NUM"])
MASTER = (os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]))
STEPS = int(os.environ.get("STEPS", "100"))
RATE = 1.0  # how far one step goes
PATIENCE = 60.0  # seconds that one rank waits for another

PARAMETERS = 64 * 10 + 10  # a weight for each pixel and digit, and a bias for each digit
MESSAGE = PARAMETERS + 1  # both ways the loss comes last


def gpu_or_cpu() -> tuple[Any, Any]:
    """Return the array module and how to move a NumPy array to it: torch on this node's GPU, else NumPy itself."""
    if os.environ.get("CUDA_VISIBLE_DEVICES"):  # empty when the node was given no GPU
        try:
            import torch
        except ImportError:
            return np, np.asarray
        if torch.cuda.is_available():
            return torch, lambda array: torch.asarray(array, device="cuda")
    return np, np.asarray


def receive(connection: socket.socket, count: int) -> np.ndarray:
    """Return the next ``count`` numbers; raise EOFError when the other side has gone."""
    data = b""
    while len(data) < 8 * count:
        piece = connection.recv(8 * count - len(data))
        if not piece:
            raise EOFError("the other side closed the connection")
        data += piece
    return np.frombuffer(data)


def serve() -> np.ndarray:
    """Hold the parameters through all steps; return them, with the last loss behind them."""
    state = np.zeros(MESSAGE)
    with socket.create_server(MASTER, backlog=NODES) as listener:
        workers = welcome(listener)
    for step in range(1, STEPS + 1):
        for worker in workers:
            worker.sendall(state.tobytes())
        mean = np.mean([receive(worker, MESSAGE) for worker in workers], axis=0)
        state = np.append(state[:-1] - RATE * mean[:-1], mean[-1])
        if step == 1 or step % 10 == 0:
            print(f"step {step} loss {mean[-1]:.6f}", flush=True)
    for worker in workers:
        worker.sendall(state.tobytes())
        worker.close()
    return state


def welcome(listener: socket.socket) -> list[socket.socket]:
    """Return the connections of all workers in rank order, so that sums come out the same in every run."""
    listener.settimeout(PATIENCE)
    workers: dict[int, socket.socket] = {}
    while len(workers) < NODES - 1:
        connection, _ = listener.accept()
        connection.settimeout(PATIENCE)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            workers[int(receive(connection, 1)[0])] = connection
        except EOFError:
            connection.close()  # not a worker: somebody who only looked whether the port is open
    return [workers[rank] for rank in sorted(workers)]


def work() -> np.ndarray:
    """Answer the server's parameters with gradients through all steps; return the last parameters and the loss."""
    from sklearn.datasets import load_digits  # the server needs no data

    images, labels = load_digits(return_X_y=True)
    shard = slice(RANK - 1, None, NODES - 1)
    xp, put = gpu_or_cpu()
    inputs, one_hot = put(images[shard] / 16), put(np.eye(10)[labels[shard]])
    with connect() as server:
        server.sendall(np.array([RANK], dtype=float).tobytes())
        for _ in range(STEPS):
            state = receive(server, MESSAGE)
            server.sendall(gradient(state, inputs, one_hot, xp, put).tobytes())
        return receive(server, MESSAGE)


def gradient(state: np.ndarray, inputs: Any, one_hot: Any, xp: Any, put: Any) -> np.ndarray:
    """Return the gradient of the mean cross entropy on this shard, and that loss behind it."""
    scores = xp.exp(inputs @ put(state[:640].reshape(64, 10)) + put(state[640:650]))
    chances = scores / scores.sum(1)[:, None]
    loss = -float(xp.log((chances * one_hot).sum(1)).mean())
    error = (chances - one_hot) / len(inputs)
    return np.concatenate([(inputs.T @ error).reshape(-1).tolist(), error.sum(0).tolist(), [loss]])


def connect() -> socket.socket:
    """Connect to the server, which may come up a moment later than this worker."""
    give_up = time.monotonic() + PATIENCE
    while True:
        try:
            connection = socket.create_connection(MASTER, timeout=PATIENCE)
        except ConnectionRefusedError:
            if time.monotonic() > give_up:
                raise
            time.sleep(0.1)
        else:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return connection


def main() -> None:
    if NODES < 2:
        sys.exit("a parameter server needs a worker: submit with nodes: 2 or more")
    try:
        state = serve() if RANK == 0 else work()
    except (OSError, EOFError) as error:
        sys.exit(f"rank {RANK}: {error}; the server is rank 0 at {MASTER[0]}:{MASTER[1]}")
    print(f"rank {RANK} loss {state[-1]:.6f} params {np.abs(state[:-1]).sum():.8f}", flush=True)


if __name__ == "__main__":
    main()
