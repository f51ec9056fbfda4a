"""What a machine's guest has printed, to be read while it goes on."""

import re
from typing import Final, TypeAlias

from kev.machine.errors import MachineError

Pattern: TypeAlias = str | bytes | re.Pattern[bytes]
"""A text, or a regular expression over bytes."""


class Output:
    """Everything that was printed, and how far it was expected: what was found once is not found again."""

    __slots__ = ("_data", "position")

    def __init__(self) -> None:
        self._data: Final = bytearray()
        self.position = 0
        """Behind what was found last."""

    def append(self, data: bytes) -> None:
        self._data.extend(data)

    def find(self, pattern: Pattern) -> re.Match[bytes] | None:
        """The first place behind `position` that `pattern` matches; `position` is behind it then."""
        found = compiled(pattern).search(self.since(self.position))
        if found is not None:
            self.position += found.end()
        return found

    @property
    def text(self) -> str:
        """All of it, as UTF-8; what is none is replaced."""
        return self._data.decode(errors="replace")

    @property
    def last_line(self) -> str:
        """The last line that is not empty."""
        return self.text.rstrip().rpartition("\n")[2].strip()

    def since(self, position: int) -> bytes:
        return bytes(self._data[position:])

    def __bytes__(self) -> bytes:
        return bytes(self._data)

    def __len__(self) -> int:
        return len(self._data)


class TextWatch:
    """Looks for a text in what comes piece by piece; for an empty one, until anything comes."""

    __slots__ = ("_tail", "_wanted")

    def __init__(self, text: str) -> None:
        self._wanted: Final = text.encode()
        self._tail: Final = bytearray()

    def finds(self, data: bytes) -> bool:
        """Whether the text is in `data`, or ends there and began before."""
        self._tail.extend(data)
        found = bool(self._tail) and self._wanted in self._tail
        del self._tail[: 1 - len(self._wanted) or len(self._tail)]
        return found


def compiled(pattern: Pattern) -> re.Pattern[bytes]:
    """A regular expression for `pattern`. MachineError if it is none over bytes."""
    if isinstance(pattern, str):
        pattern = pattern.encode(errors="surrogateescape")
    if isinstance(pattern, bytes | bytearray):
        return re.compile(re.escape(bytes(pattern)))
    if not isinstance(pattern, re.Pattern):
        raise MachineError(f"pattern: {pattern!r} is neither text, nor bytes, nor a regular expression")
    if not isinstance(pattern.pattern, bytes):
        raise MachineError(f"pattern: {pattern.pattern!r} is a regular expression over text, not over bytes: re.compile(b'...')")
    return pattern
