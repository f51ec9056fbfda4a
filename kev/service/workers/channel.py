"""A process' own end of its stream to the service: see `kev.service.workers.framing`."""

import os
import select
import socket
from collections import deque
from typing import Final

import trio

from kev.addressing import KIB
from kev.service.workers.framing import Frame, FrameKind, Unpacker

_READ: Final = 64 * KIB
_MOST_DESCRIPTORS: Final = 4


class Channel:
    """Reads in trio, and writes at once: who writes waits until the service takes it.

    So nothing is kept here that the service has not taken yet, and what was written before a process went down has been said. The
    service always reads, so nobody waits for long. If it is gone, so is this process.
    """

    def __init__(self, stream: socket.socket) -> None:
        self._stream: Final = stream
        self._unpacker: Final = Unpacker()
        self._descriptors: Final[deque[int]] = deque()
        self._poll: Final = select.poll()
        self._poll.register(stream, select.POLLIN)
        self._early: list[Frame] = []
        """Those that `is_called` has found."""

    def write(self, frames: bytes) -> None:
        try:
            self._stream.sendall(frames)
        except OSError:
            os._exit(1)

    async def read(self) -> list[Frame]:
        """The frames that have come, when something has. Ends the process if the service is gone. ProtocolError."""
        await trio.lowlevel.wait_readable(self._stream)
        return self._received()

    def is_called(self) -> bool:
        """Whether something has come that wants an answer, since `take_early` was called."""
        if self._poll.poll(0):
            self._early += self._received()
        return any(frame.kind is FrameKind.CALL for frame in self._early)

    def take_early(self) -> list[Frame]:
        """What has come meanwhile, which `read` does not return any more."""
        early, self._early = self._early, []
        return early

    def _received(self) -> list[Frame]:
        try:
            data, descriptors, _, _ = socket.recv_fds(self._stream, _READ, _MOST_DESCRIPTORS, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return []
        except OSError:
            os._exit(1)
        if not data:
            os._exit(0)
        self._descriptors.extend(descriptors)
        return list(self._unpacker.feed(data))

    def take_descriptor(self) -> int:
        """The first descriptor that came and was not taken. Close it."""
        return self._descriptors.popleft()
