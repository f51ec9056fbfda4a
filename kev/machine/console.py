"""Where the guest's output goes."""

import time
from collections import deque
from collections.abc import Iterable
from typing import Final

from kev.state import BYTES, FLAG, Fields, State, bits, converted, listed
from kev.subscribers import Subscribers

_MUCH: Final = 256 << 10
"""Bytes."""
_LONGEST_DEBUG_LINE: Final = 4096
"""Bytes that are kept back while no line ends."""
_LINES_COMPARED: Final = 16
"""A line may come from the other device this many lines later."""


def _some_lines(lines: Iterable[bytes] = ()) -> deque[bytes]:
    return deque(lines, maxlen=_LINES_COMPARED)


_LINES: Final = converted(listed(BYTES), list, _some_lines)


class Console:
    """Collects what the guest prints and passes it on a line at a time, or when the machine says that it is time.

    Kernels print to COM1, to the debug console, or the same to both, byte by byte or line by line. A line that has come from one
    device is not printed again when it comes from the other.
    """

    __slots__ = (
        "_buffer",
        "_came",
        "_debug_line",
        "_debug_lines",
        "_left",
        "_line",
        "_lines",
        "_shown",
        "_since",
        "exceeded",
        "first_output",
        "first_shown",
        "much",
        "output",
    )

    _FIELDS: Final = Fields(
        {
            "_buffer": BYTES,
            "_line": BYTES,
            "_came": FLAG,
            "_lines": _LINES,
            "_debug_line": BYTES,
            "_debug_lines": _LINES,
            "_since": bits(64),
        }
    )

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
        """What has not been passed on of COM1's line."""
        self._line = bytearray()
        """All of it."""
        self._came = False
        """It has come from the debug console, too."""
        self._lines = _some_lines()
        """Lines that have come from COM1 only."""
        self._debug_line = bytearray()
        self._debug_lines = _some_lines()
        """Lines that have come from the debug console only."""
        self.first_output: float | None = None
        """When the first byte came, by `time.perf_counter`; those aside that are on the screen, too."""
        self._shown = bytearray()
        """What has not been passed on of text that is on the screen."""
        self.first_shown: float | None = None
        """When the first of those came."""

    def limit(self, size: int | None) -> None:
        """So many bytes more are passed on, and no others; None if there is no limit."""
        self._left = size

    @property
    def left(self) -> int | None:
        """How many bytes more may be passed on; None if there is no limit."""
        return self._left

    def put(self, byte: int) -> None:
        """A byte from COM1."""
        if self.first_output is None:
            self.first_output = time.perf_counter()
        self._buffer.append(byte)
        self._line.append(byte)
        if byte == 0x0A:
            self._end_line()

    def put_debug(self, byte: int) -> None:
        """A byte from the debug console. It is kept back until its line ends, so that neither device garbles the other's."""
        if self.first_output is None:
            self.first_output = time.perf_counter()
        self._debug_line.append(byte)
        if byte == 0x0A or len(self._debug_line) == _LONGEST_DEBUG_LINE:
            self._end_debug_line()

    def write(self, data: bytes) -> None:
        if self.first_output is None:
            self.first_output = time.perf_counter()
        self._pass_on()
        self._give(data)

    def show(self, data: bytes) -> None:
        """Text that is on the screen, too. Like `put`, it is passed on a line at a time."""
        if self.first_shown is None:
            self.first_shown = time.perf_counter()
        if self._buffer:
            self._pass_on()
        self._shown += data
        if b"\n" in data:
            self._pass_on()

    @property
    def first_byte(self) -> float | None:
        """When the first byte of all came."""
        times = [time for time in (self.first_output, self.first_shown) if time is not None]
        return min(times, default=None)

    def flush(self) -> None:
        """Passes on the line that COM1 has begun, but what was printed as the debug console's already."""
        if self._shown:
            self._pass_on_shown()
        if self._buffer and not (self._debug_lines and self._repeats):
            self._pass_on()

    def close(self) -> None:
        """Passes on what is left when the run has ended."""
        if self._debug_line:
            self._end_debug_line()
        self.flush()

    @property
    def _repeats(self) -> bool:
        """As far as it has come, COM1's line is one that the debug console has brought; none of it has been passed on."""
        text = _text(self._line)
        return len(self._buffer) == len(self._line) and any(line.startswith(text) for line in self._debug_lines)

    def _end_line(self) -> None:
        text = _text(self._line)
        if self._came:
            self._came = False
        elif len(self._buffer) == len(self._line) and _take(self._debug_lines, text):
            self._buffer.clear()
        else:
            self._lines.append(text)
        self._pass_on()
        self._line.clear()

    def _end_debug_line(self) -> None:
        line = bytes(self._debug_line)
        self._debug_line.clear()
        text = _text(line)
        if _take(self._lines, text):
            return
        if text and not self._came and text == _text(self._line):
            self._came = True
            return
        self._debug_lines.append(text)
        self._pass_on()
        self._give(line)

    def save(self) -> State:
        """What it has not passed on, and what it compares with."""
        return self._FIELDS.save(self)

    def load(self, state: State) -> None:
        """StateError if no console can be so."""
        self._FIELDS.load(self, "console", state)

    def _pass_on(self) -> None:
        if self._shown:
            self._pass_on_shown()
        if self._buffer:
            data = bytes(self._buffer)
            self._buffer.clear()
            self._give(data)

    def _give(self, data: bytes) -> None:
        if self._left is not None:
            data = self._within_limit(data)
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

    def _pass_on_shown(self) -> None:
        data = bytes(self._shown)
        self._shown.clear()
        self._give(data)


def _text(line: bytes | bytearray) -> bytes:
    return bytes(line).strip(b"\r\n")


def _take(lines: deque[bytes], line: bytes) -> bool:
    """Whether `line` is one of `lines`; it and those before it are no longer."""
    if line not in lines:
        return False
    while lines.popleft() != line:
        pass
    return True
