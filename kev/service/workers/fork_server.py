"""The process that workers are forked from. It has imported what a machine needs, has one thread, and runs no guest of the service.

On its first stream come descriptors, each the stream of a client. A client sends CALL frames. One that asks for a worker has two
descriptors with it, the worker's end of its stream and its standard error, and is answered by the number of the process. Another
names a process that is to be killed. Without being asked, a client is told how a process of its own has ended.
"""

import errno
import gc
import json
import os
import select
import signal
import socket
import sys
from contextlib import suppress
from typing import Any, Final, NoReturn

from kev.service.workers.dying import die_with_parent
from kev.service.workers.framing import Frame, FrameKind, Unpacker, pack_json
from kev.service.workers.warming import warm_up
from kev.service.workers.worker import work

_READ: Final = 1 << 16
_MOST_DESCRIPTORS: Final = 64
NICER: Final = 5
"""By how much workers yield to the service, so that it answers while they compute: to a third of its weight (nice(2), sched(7))."""


def main() -> NoReturn:
    """Arguments: the descriptor of the stream, the number of the service's process, the level of its log."""
    descriptor, parent, log_level = sys.argv[1:]
    die_with_parent(int(parent))
    warm_up()
    gc.collect()
    # What is there is never looked at again, so that its pages stay shared.
    gc.freeze()
    _ForkServer(socket.socket(fileno=int(descriptor)), log_level).serve()


class _Client:
    """Somebody who has workers."""

    def __init__(self, stream: socket.socket) -> None:
        self.stream: Final = stream
        self.unpacker: Final = Unpacker()
        self.descriptors: Final[list[int]] = []
        """Those that have come and were not used."""
        self.processes: Final[set[int]] = set()
        """Those that were forked, and have not been waited for: their numbers are theirs."""

    def tell(self, frame: bytes) -> None:
        # Where nobody listens any more, that is noticed when it is read from.
        with suppress(OSError):
            self.stream.sendall(frame)


class _ForkServer:
    def __init__(self, stream: socket.socket, log_level: str) -> None:
        self._stream: Final = stream
        self._log_level: Final = log_level
        self._clients: Final[dict[int, _Client]] = {}
        """By the descriptors of their streams."""
        self._woken, self._wakes = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._poll: Final = select.poll()

    def serve(self) -> NoReturn:
        """Until whoever has started it is gone."""
        signal.set_wakeup_fd(self._wakes, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        for descriptor in (self._stream.fileno(), self._woken):
            self._poll.register(descriptor, select.POLLIN)
        while True:
            for descriptor, _ in self._poll.poll():
                if descriptor == self._woken:
                    os.read(self._woken, _READ)
                    self._tell_of_the_dead()
                elif descriptor == self._stream.fileno():
                    self._take_client()
                else:
                    self._take_calls(self._clients[descriptor])

    def _take_client(self) -> None:
        data, descriptors, _, _ = socket.recv_fds(self._stream, _READ, _MOST_DESCRIPTORS)
        if not data:
            os._exit(0)
        for descriptor in descriptors:
            self._clients[descriptor] = _Client(socket.socket(fileno=descriptor))
            self._poll.register(descriptor, select.POLLIN)

    def _take_calls(self, client: _Client) -> None:
        try:
            data, descriptors, _, _ = socket.recv_fds(client.stream, _READ, _MOST_DESCRIPTORS)
        except OSError:
            data, descriptors = b"", []
        if not data:
            self._forget(client)
            return
        client.descriptors.extend(descriptors)
        for frame in client.unpacker.feed(data):
            self._do(client, frame)

    def _forget(self, client: _Client) -> None:
        """A client is gone, and its workers with it."""
        del self._clients[client.stream.fileno()]
        self._poll.unregister(client.stream)
        client.stream.close()
        for process in client.processes:
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)

    def _do(self, client: _Client, frame: Frame) -> None:
        call = json.loads(frame.contents)
        if call["name"] == "kill":
            if call["process"] in client.processes:
                os.kill(call["process"], signal.SIGKILL)
            return
        stream, errors = client.descriptors[:2]
        del client.descriptors[:2]
        answer = self._fork(client, stream, errors)
        os.close(stream)
        os.close(errors)
        client.tell(pack_json(FrameKind.VALUE, answer, frame.number))

    def _fork(self, client: _Client, stream: int, errors: int) -> dict[str, Any]:
        parent = os.getpid()
        try:
            process = os.fork()
        except OSError as error:
            return {"process": None, "reason": os.strerror(error.errno or errno.EAGAIN)}
        if process == 0:
            self._become_worker(stream, errors, parent)
        client.processes.add(process)
        return {"process": process}

    def _become_worker(self, stream: int, errors: int, parent: int) -> NoReturn:
        """In the forked process."""
        try:
            die_with_parent(parent)
            os.nice(NICER)
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            self._close_all()
            os.dup2(errors, 1)
            os.dup2(errors, 2)
            os.close(errors)
            work(socket.socket(fileno=stream), self._log_level)
        finally:
            os._exit(1)

    def _close_all(self) -> None:
        for descriptor in (self._woken, self._wakes):
            os.close(descriptor)
        self._stream.close()
        for client in self._clients.values():
            client.stream.close()
            for descriptor in client.descriptors:
                os.close(descriptor)

    def _tell_of_the_dead(self) -> None:
        while any(client.processes for client in self._clients.values()):
            process, status = os.waitpid(-1, os.WNOHANG)
            if process == 0:
                return
            for client in self._clients.values():
                if process in client.processes:
                    client.processes.remove(process)
                    client.tell(pack_json(FrameKind.TOLD, {"process": process, "code": os.waitstatus_to_exitcode(status)}))


if __name__ == "__main__":
    main()
