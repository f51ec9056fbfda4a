"""Where the guest's output goes."""

import time
from typing import Final

from kev.subscribers import Subscribers

_MUCH: Final = 256 << 10
"""Bytes."""
_LONGEST_DEBUG_LINE: Final = 4096
"""Bytes that are kept back while no line ends."""


class Console:
    """Collects what the guest prints and passes it on a line at a time, or when the machine says that it is time."""

    __slots__ = ("_buffer", "_debug_line", "_left", "_since", "exceeded", "first_output", "much", "output")

    def __init__(self) -> None:
        self.output: Final[Subscribers[[bytes]]] = Subscribers()
        """Are given what the guest prints."""
        self.much: Final[Subscribers[[]]] = Subscribers()
        """Are told whenever it has printed so much that the host's time may have passed quicker than its own."""
        self.exceeded: Final[Subscribers[[]]] = Subscribers()
        """Are told when it has printed more than it may."""
        self._left: int | None = None
        self._since = 0
        self._buffer = bytearray()
        self._debug_line = bytearray()
        self.first_output: float | None = None
        """When the first byte came, by `time.perf_counter`."""

    def limit(self, size: int) -> None:
        """So many bytes more are passed on, and no others."""
        self._left = size

    def put(self, byte: int) -> None:
        if self.first_output is None:
            self.first_output = time.perf_counter()
        self._buffer.append(byte)
        if byte == 0x0A:
            self.flush()

    def put_debug(self, byte: int) -> None:
        """As `put`, for a second line: kernels that write each character to both do not garble either."""
        if self.first_output is None:
            self.first_output = time.perf_counter()
        self._debug_line.append(byte)
        if byte == 0x0A or len(self._debug_line) == _LONGEST_DEBUG_LINE:
            self._end_debug_line()

    def write(self, data: bytes) -> None:
        if self.first_output is None:
            self.first_output = time.perf_counter()
        self._buffer += data
        self.flush()

    def flush(self) -> None:
        if self._buffer:
            data = bytes(self._buffer)
            self._buffer.clear()
            self._pass_on(data if self._left is None else self._within_limit(data))

    def _pass_on(self, data: bytes) -> None:
        self._since += len(data)
        if self._since >= _MUCH:
            self._since = 0
            self.much()
        if data:
            self.output(data)

    def _within_limit(self, data: bytes) -> bytes:
        assert self._left is not None
        if len(data) > self._left:
            data = data[: self._left]
            self.exceeded()
        self._left -= len(data)
        return data

    def close(self) -> None:
        """Passes on what is left when the run has ended."""
        self._end_debug_line()
        self.flush()

    def _end_debug_line(self) -> None:
        self._buffer += self._debug_line
        self._debug_line.clear()
        self.flush()
