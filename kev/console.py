"""Where the guest's output goes."""

import time
from collections.abc import Callable


class Console:
    """Collects what the guest prints and passes it on a line at a time, or when the machine says that it is time."""

    __slots__ = ("_buffer", "_sink", "first_output")

    def __init__(self, sink: Callable[[bytes], object]) -> None:
        self._sink = sink
        self._buffer = bytearray()
        self.first_output: float | None = None
        """When the first byte came, by `time.perf_counter`."""

    def put(self, byte: int) -> None:
        if self.first_output is None:
            self.first_output = time.perf_counter()
        self._buffer.append(byte)
        if byte == 0x0A:
            self.flush()

    def write(self, data: bytes) -> None:
        if self.first_output is None:
            self.first_output = time.perf_counter()
        self._buffer += data
        self.flush()

    def flush(self) -> None:
        if self._buffer:
            self._sink(bytes(self._buffer))
            self._buffer.clear()
