"""Boot information whose pointers point into itself."""

from typing import Final

from kev.addressing import Gpa
from kev.boot.base import c_string


class InformationWriter:
    """Builds a structure with what its pointers point to, as one block of bytes at `base`."""

    def __init__(self, base: Gpa, header_size: int) -> None:
        """`base` is aligned to pages; the first `header_size` bytes are left for `finish`."""
        self._base: Final = base
        self._data: Final = bytearray(header_size)

    def add(self, data: bytes) -> int:
        """Appends `data` at a multiple of 8, and returns its address."""
        self._data.extend(bytes(-len(self._data) % 8))
        address = self._base + len(self._data)
        self._data.extend(data)
        return address

    def add_string(self, text: str) -> int:
        return self.add(c_string(text))

    def finish(self, header: bytes) -> bytes:
        self._data[: len(header)] = header
        return bytes(self._data)
