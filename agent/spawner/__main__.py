"""`python -m agent.spawner --state-dir DIR`: the daemon starts it, nobody else needs to."""

import fcntl
import json
import os
import select
import signal
import socket
import sys
import time

from rallypoint.failpoints import BadFailpoint, arm, reach

from agent.spawner import scope, wire
from agent.spawner.keeper import Keeper
from agent.spawner.nursery import Nursery
from agent.spawner.orders import number
from agent.spawner.reaper import supervise
from agent.spawner.waiting import NOT_WELL, Waiting

# So many spawns at most before looking what else has happened.
SPAWN_SLICE = 8
# While there is more to spawn, news are told so many seconds apart: many ends are brought to the disk at one stroke.
GATHER_SECONDS = 0.03
# A spawner with nothing to do waits so long for a first daemon.
GREETING_SECONDS = 10.0


class Server:
    """The spawner's loop: one thread, one daemon at a time."""

    def __init__(self, directory: str, use_groups: bool, hindered: str) -> None:
        self._poll = select.epoll()
        self._listener = _listen(directory)
        self._wakeup, writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        for name in (signal.SIGCHLD, signal.SIGTERM):
            signal.signal(name, lambda *_: None)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        self._waiting = Waiting()
        self._keeper = Keeper(directory, self._poll, use_groups, self._waiting.over, hindered)
        self._daemon: socket.socket | None = None
        self._decoder = wire.Decoder()
        self._output = bytearray()
        self._told_at = 0.0
        self._leave_at = 0.0
        self._poll.register(self._listener, select.EPOLLIN)
        self._poll.register(self._wakeup, select.EPOLLIN)

    def run(self) -> None:
        """Serve until there is neither a daemon nor a living task."""
        # Whoever started us is about to connect.
        self._leave_at = wire.now() + GREETING_SECONDS
        while self._daemon is not None or self._keeper.tasks or wire.now() < self._leave_at:
            for fd, event in self._poll.poll(self._timeout()):
                self._handle(fd, event)
            self._keeper.reap()
            self._keeper.tick()
            self._spawn_some()
            self._tell()
            # Last, for it may take a while: what was told is on its way.
            self._keeper.nursery.move_on()
        self._keeper.nursery.close()

    def _timeout(self) -> float | None:
        if self._waiting.is_ready():
            return 0.0
        times = [self._keeper.next_timer_at(), self._waiting.next_end()]
        if self._waiting and self._keeper.book.news:
            times.append(self._told_at + GATHER_SECONDS)
        if self._daemon is None and not self._keeper.tasks:
            times.append(self._leave_at)
        first = min((at for at in times if at is not None), default=None)
        return None if first is None else max(0.0, first - wire.now())

    def _handle(self, fd: int, event: int) -> None:
        if fd == self._wakeup:
            os.read(self._wakeup, 4096)
        elif fd == self._listener.fileno():
            self._accept()
        elif self._daemon is not None and fd == self._daemon.fileno():
            if event & select.EPOLLOUT:
                self._send()
            if event & (select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR):
                self._receive()
        else:
            self._keeper.readable(fd)

    def _accept(self) -> None:
        connection, _ = self._listener.accept()
        if self._daemon is not None:
            # The daemon's lock on the state directory makes it the only one: the older connection is dead.
            self._drop()
        connection.setblocking(False)
        self._daemon, self._leave_at = connection, 0.0
        self._decoder = wire.Decoder()
        self._output.clear()
        self._poll.register(connection, select.EPOLLIN)
        # The snapshot says it all; news from before would only repeat it.
        self._keeper.commit()
        self._keeper.book.news.clear()
        keeper = self._keeper
        self._push(
            [
                {
                    "ev": "snapshot",
                    "records": keeper.book.records,
                    "boot": keeper.boot,
                    "held": keeper.nursery.held(),
                    "queues": True,
                    "users": True,
                }
            ]
        )

    def _drop(self) -> None:
        if self._daemon is not None:
            self._poll.unregister(self._daemon)
            self._daemon.close()
            self._daemon = None
            self._waiting.clear()

    def _receive(self) -> None:
        assert self._daemon is not None
        try:
            data = self._daemon.recv(1 << 20)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._drop()
            return
        for order in self._decoder.feed(data):
            self._obey(order)

    def _obey(self, order: "wire.Message") -> None:
        op = order["op"]
        if op == "spawn":
            self._take(order)
        elif op == "exec":
            self._keeper.execute(order)
        elif op == "stop":
            self._stop(order)
        elif op == "forget":
            self._keeper.forget(order)
        elif op == "lease":
            self._keeper.lease(order)

    def _take(self, order: "wire.Message") -> None:
        before = str(order.get("behind") or "")
        if before in self._keeper.tasks or self._waiting.has(before):
            self._waiting.put_behind(order, before, wire.now() + number(order["within"]))
        elif not before or self._keeper.ended_well(before):
            self._waiting.put(order)
        else:
            self._waiting.returned.append((str(order["id"]), NOT_WELL))

    def _stop(self, order: "wire.Message") -> None:
        """A task that is about to be spawned is spawned first; one that waits for another one's end never is."""
        task = str(order["id"])
        if self._waiting.drop(task):
            self._keeper.book.refuse(task, str(order["reason"]), str(order["cause"]))
            return
        waiting = self._waiting.take_out(task)
        if waiting is not None:
            self._keeper.start(waiting)
        self._keeper.stop(order)

    def _spawn_some(self) -> None:
        if self._waiting:
            self._waiting.give_back_late(wire.now())
            for order in self._waiting.take(SPAWN_SLICE):
                self._keeper.start(order)

    def _tell(self) -> None:
        book = self._keeper.book
        for task, reason in self._waiting.returned:
            book.refusals.append({"ev": "returned", "id": task, "at": time.time(), "reason": reason})
        self._waiting.returned.clear()
        self._push_all(book.refusals)
        if self._waiting and wire.now() < self._told_at + GATHER_SECONDS:
            return
        if book.news:
            self._told_at = wire.now()
        if self._keeper.commit() and book.news:
            self._push_all(book.news)
            reach("spawner.after-news")

    def _push_all(self, news: "list[wire.Message]") -> None:
        if self._daemon is not None and news:
            self._push(news)
        news.clear()

    def _push(self, messages: "list[wire.Message]") -> None:
        self._output += wire.encode(messages)
        self._send()

    def _send(self) -> None:
        if self._daemon is None:
            return
        try:
            while self._output:
                del self._output[: self._daemon.send(self._output)]
        except BlockingIOError:
            self._poll.modify(self._daemon, select.EPOLLIN | select.EPOLLOUT)
            return
        except OSError:
            self._drop()
            return
        self._poll.modify(self._daemon, select.EPOLLIN)


def _listen(directory: str) -> socket.socket:
    # By a short relative name: a socket's path may have 107 bytes only.
    os.chdir(directory)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    if os.path.exists(wire.SOCKET):
        os.unlink(wire.SOCKET)
    listener.bind(wire.SOCKET)
    os.chmod(wire.SOCKET, 0o600)
    listener.listen(4)
    listener.setblocking(False)
    return listener


def main(arguments: list[str]) -> int:
    """Serve the state directory named by ``--state-dir``; 1 if another spawner does."""
    use_groups = wire.NO_CGROUPS not in arguments
    hindered = scope.enter(arguments) if use_groups else ""
    arguments = [word for word in arguments if word not in (wire.NO_CGROUPS, scope.IN_SCOPE)]
    if arguments == [wire.HELD]:
        nursery = Nursery("doctor", use_groups, hindered)
        print(json.dumps(nursery.held()))
        nursery.close()
        return 0
    if len(arguments) != 2 or arguments[0] != "--state-dir":
        print(f"usage: python -m agent.spawner --state-dir DIR [{wire.NO_CGROUPS}]", file=sys.stderr)
        return 2
    directory = os.path.abspath(arguments[1])
    lock = os.open(os.path.join(directory, wire.LOCK), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print(f"another spawner serves {directory}", file=sys.stderr)
        return 1
    try:
        arm("spawner", os.environ)
    except BadFailpoint as error:
        print(error, file=sys.stderr)
        return 2
    # A failpoint is one death: the next spawner is not to die of it again.
    return supervise(lambda: Server(directory, use_groups, hindered).run(), directory, lambda: arm("spawner", {}))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
