"""Standard output: what a guest prints, and what commands print."""

import io
import os
import stat
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from kev.errors import KevError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_LOOK_EVERY: Final = 50
"""Milliseconds between two looks whether there is still a reader to wait for."""
_AT_ONCE: Final = 4096
"""Bytes that a pipe or a terminal takes without waiting if it takes any: PIPE_BUF of Linux (pipe(7))."""


class StandardOutputError(KevError):
    """Standard output is full, or closed. Names the reason."""


class StandardOutput:
    """Writes all there is to write, however slowly it is read, for as long as `is_over` does not say that nobody wants it."""

    def __init__(self, is_over: Callable[[], bool] = lambda: False) -> None:
        """`is_over` is asked while nobody reads: once it is true, what is left is dropped."""
        self.error: StandardOutputError | None = None
        """Why nothing can be written any more."""
        self.dropped = 0
        """Bytes that nobody has read in time."""
        self.ends_line = True
        """What was written last was the end of a line, or nothing was written."""
        self.is_over = is_over

    def write(self, data: bytes) -> None:
        """Returns when all of `data` is written, or dropped.

        StandardOutputError if it cannot be written, once; after that, and after something was dropped, nothing is written.
        """
        if self.error is not None:
            return
        if data:
            self.ends_line = data.endswith(b"\n")
        if self.dropped:
            self.dropped += len(data)
            return
        try:
            self.dropped = self._write(data)
        except (AttributeError, OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else "it is closed"
            self.error = StandardOutputError(f"standard output cannot be written: {reason}")
            give_up_standard_output()
            raise self.error from error
        if self.dropped:
            give_up_standard_output()

    def _write(self, data: bytes) -> int:
        """How many bytes were dropped."""
        stream = sys.stdout.buffer
        try:
            descriptor = stream.fileno()
        except OSError:  # it is not the operating system's
            stream.write(data)
            return 0
        stream.flush()
        kind = os.fstat(descriptor).st_mode
        waits = stat.S_ISFIFO(kind) or stat.S_ISSOCK(kind) or os.isatty(descriptor)
        most = _AT_ONCE if waits else len(data)
        rest = memoryview(data)
        while rest:
            if waits and not self._wait_for_reader(descriptor):
                return len(rest)
            try:
                rest = rest[os.write(descriptor, rest[:most]) :]
            except BlockingIOError:
                if not self._wait_for_reader(descriptor):
                    return len(rest)
        return 0

    def _wait_for_reader(self, descriptor: int) -> bool:
        """Whether there is room now, or an error to be told of; or else the run is over."""
        from select import POLLOUT, poll

        writable = poll()
        writable.register(descriptor, POLLOUT)
        while not writable.poll(_LOOK_EVERY):
            if self.is_over():
                return False
        return True


class _PatientFile(io.RawIOBase):
    """A descriptor that was made not to wait, by whoever else has it. Here it does, so that nothing is lost."""

    def __init__(self, descriptor: int, *, may_fail: bool) -> None:
        """`may_fail`: what cannot be written is dropped."""
        self._descriptor: Final = descriptor
        self._may_fail: Final = may_fail

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def writable(self) -> bool:
        return True

    def write(self, data: "ReadableBuffer", /) -> int:
        from kev.observe.output import write_patiently

        try:
            return write_patiently(self._descriptor, data)
        except OSError:
            if not self._may_fail:
                raise
            return len(memoryview(data))


def wait_for_readers() -> None:
    """Makes standard output and standard error wait until they are read, where their descriptors do not."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        try:
            descriptor = stream.fileno()
        except (AttributeError, OSError, ValueError):
            continue
        if not os.get_blocking(descriptor):
            buffer = io.BufferedWriter(_PatientFile(descriptor, may_fail=name == "stderr"))
            patient = io.TextIOWrapper(buffer, stream.encoding, stream.errors, line_buffering=stream.line_buffering)
            setattr(sys, name, patient)


class ClosedOutput:
    """Stands for a standard output that the process was started without: what is written is an error, and not lost."""

    def write(self, _text: str) -> int:
        raise OSError(None, "it is closed")

    def flush(self) -> None: ...


def give_up_standard_output() -> None:
    """What is still buffered goes nowhere: at the end of the process it would fail, or wait, once more."""
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
    except (AttributeError, OSError, ValueError):
        sys.stdout = None
