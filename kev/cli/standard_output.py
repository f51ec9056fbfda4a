"""Standard output, on which a guest prints."""

import os
import sys

from kev.errors import KevError


class StandardOutputError(KevError):
    """Standard output is full, or closed. Names the reason."""


class StandardOutput:
    """Writes all there is to write, however slowly it is read."""

    def __init__(self) -> None:
        self.error: StandardOutputError | None = None
        """Why nothing is written any more."""

    def write(self, data: bytes) -> None:
        """Returns when all of `data` is written. StandardOutputError if it cannot be, once; after that, nothing is written."""
        if self.error is not None:
            return
        try:
            _write(data)
        except (AttributeError, OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is closed"
            self.error = StandardOutputError(f"standard output cannot be written: {reason}")
            _give_up()
            raise self.error from error


def _write(data: bytes) -> None:
    stream = sys.stdout.buffer
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[stream.write(rest) :]
        except BlockingIOError as error:
            rest = rest[error.characters_written :]
            _wait_for_reader()
    while True:
        try:
            stream.flush()
        except BlockingIOError:
            _wait_for_reader()
        else:
            return


def _wait_for_reader() -> None:
    from select import select

    select([], [sys.stdout.fileno()], [])


def _give_up() -> None:
    """What is still buffered goes nowhere: at the end of the process it would fail once more."""
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
    except (AttributeError, OSError, ValueError):
        sys.stdout = None
