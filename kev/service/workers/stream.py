"""The service's end of a stream to one of its processes: see `kev.service.workers.framing`."""

import socket
import sys
from typing import Final

import trio

from kev.addressing import KIB
from kev.service.workers.framing import Frame, Unpacker

_READ: Final = 64 * KIB


class Stream:
    """Frames in both directions. Any number of tasks may write, one reads."""

    def __init__(self, ours: socket.socket) -> None:
        self._plain: Final = ours
        self._socket: Final = trio.socket.from_stdlib_socket(ours)
        self._one_at_a_time: Final = trio.Lock()
        self._unpacker: Final = Unpacker()

    async def write(self, frames: bytes, descriptors: tuple[int, ...] = ()) -> None:
        """All of it, even if the caller is cancelled meanwhile. OSError if the process is gone."""
        control = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, b"".join(number.to_bytes(4, sys.byteorder) for number in descriptors))]
        async with self._one_at_a_time:
            with trio.CancelScope(shield=True):
                sent = await self._socket.sendmsg([frames], control if descriptors else [])
                while sent < len(frames):
                    sent += await self._socket.send(frames[sent:])

    def write_at_once(self, frame: bytes) -> bool:
        """Whether it could be written without waiting: all of it, or nothing. OSError if the process is gone."""
        if self._one_at_a_time.locked():
            return False
        try:
            # A stream socket of this kind takes a few bytes together or not at all.
            return self._plain.send(frame, socket.MSG_DONTWAIT) == len(frame)
        except BlockingIOError:
            return False

    async def read(self) -> list[Frame]:
        """The frames that have come: one or more; none if the process is gone. ProtocolError."""
        while data := await self._receive():
            if frames := list(self._unpacker.feed(data)):
                return frames
        return []

    async def _receive(self) -> bytes:
        # Mostly there is nothing yet, so it is waited for first.
        while True:
            await trio.lowlevel.wait_readable(self._plain)
            try:
                return self._plain.recv(_READ, socket.MSG_DONTWAIT)
            except BlockingIOError:
                continue
            except ConnectionResetError:
                return b""

    def close(self) -> None:
        self._socket.close()
