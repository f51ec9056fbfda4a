"""Where the guest's output goes."""

import time
from typing import Final

from kev.state import BYTES, Fields, State
from kev.subscribers import Subscribers

_LONGEST_DEBUG_LINE: Final = 4096
"""Bytes that are kept back while no line ends."""


class Console:
    """Collects what the guest prints and passes it on a line at a time, or when the machine says that it is time."""

    __slots__ = ("_buffer", "_debug_line", "first_output", "output")

    _FIELDS: Final = Fields({"_buffer": BYTES, "_debug_line": BYTES})

    def __init__(self) -> None:
        self.output: Final[Subscribers[[bytes]]] = Subscribers()
        """Are given what the guest prints."""
        self._buffer = bytearray()
        self._debug_line = bytearray()
        self.first_output: float | None = None
        """When the first byte came, by `time.perf_counter`."""

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
            self.output(data)

    def close(self) -> None:
        """Passes on what is left when the run has ended."""
        self._end_debug_line()
        self.flush()

    def save(self) -> State:
        """What it has not passed on."""
        return self._FIELDS.save(self)

    def load(self, state: State) -> None:
        """StateError if no console can be so."""
        self._FIELDS.load(self, "console", state)

    def _end_debug_line(self) -> None:
        self._buffer += self._debug_line
        self._debug_line.clear()
        self.flush()
