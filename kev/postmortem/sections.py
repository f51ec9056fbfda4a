"""The sections of a kernel's ELF file that debug information is in, read when they are asked for."""

import zlib
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from kev.errors import KevError
from kev.pager.section_headers import SHF_COMPRESSED, SHT_NOBITS, SectionHeader, read_section_headers
from kev.pager.source import SynchronousSource, read_bytes
from kev.postmortem.errors import DamagedDebugInformation

_ZLIB: Final = 1
_ZSTD: Final = 2
_ZDEBUG_MAGIC: Final = b"ZLIB"
_MOST_TIMES_LARGER: Final = 1100
"""What deflate can make of its input, and a little more."""
_LARGEST_FROM_ZSTD: Final = 1 << 30


class DebugSections:
    """Sections by name, decompressed where they are compressed. What cannot be read is None, and `notes` say why, once."""

    def __init__(self, source: SynchronousSource) -> None:
        self.notes: Final[list[str]] = []
        self.bits = 64
        """The ELF class."""
        self._source: Final = source
        self._headers: Final[dict[str, SectionHeader]] = {}
        self._contents: Final[dict[str, bytes | None]] = {}
        # A boot sector has none, and damaged ones cost names only.
        with suppress(KevError):
            self._read_headers()

    def get(self, name: str) -> bytes | None:
        """The contents of the section `name`, such as ".debug_line"; None if there is none, or it cannot be read."""
        if name not in self._contents:
            self._contents[name] = self._read(name)
        return self._contents[name]

    def address(self, name: str) -> int:
        """Where the section is when the kernel runs; 0 if it is not in memory."""
        header = self._headers.get(name)
        return 0 if header is None else header.address

    def note(self, text: str) -> None:
        """Says something about the debug information, unless it was said before."""
        if text not in self.notes:
            self.notes.append(text)

    def _read_headers(self) -> None:
        table = read_section_headers(self._source)
        self.bits = table.bits
        for header in table.headers:
            name = table.name(header)
            if name.startswith((".debug_", ".zdebug_")) or name == ".eh_frame":
                self._headers.setdefault(name, header)

    def _read(self, name: str) -> bytes | None:
        header = self._headers.get(name)
        try:
            if header is None:
                old = self._headers.get(f".z{name[1:]}")
                return None if old is None else _inflate_old(self._raw(old))
            if header.flags & SHF_COMPRESSED:
                return self._decompress(self._raw(header))
            return self._raw(header)
        except (KevError, DamagedDebugInformation, zlib.error, TypeError, ValueError) as error:
            self.note(f"the section {name} is damaged: {error}")
            return None

    def _raw(self, header: SectionHeader) -> bytes:
        offset, size = header.offset, header.size
        if header.type == SHT_NOBITS:
            raise DamagedDebugInformation("it has no contents")
        if offset + size > self._source.size:
            raise DamagedDebugInformation(f"it ends at offset {offset + size:#x}, the file at {self._source.size:#x}")
        return read_bytes(self._source, offset, size)

    def _decompress(self, data: bytes) -> bytes | None:
        """What follows an ELF compression header (System V ABI, "Section Compression")."""
        kind = int.from_bytes(data[:4], "little")
        begin, size = (12, int.from_bytes(data[4:8], "little")) if self.bits == 32 else (24, int.from_bytes(data[8:16], "little"))
        if kind == _ZLIB:
            return _inflate(data[begin:], size)
        if kind == _ZSTD:
            return self._decompress_zstd(data[begin:], size)
        raise DamagedDebugInformation(f"ch_type is {kind}, neither ELFCOMPRESS_ZLIB (1) nor ELFCOMPRESS_ZSTD (2)")

    def _decompress_zstd(self, data: bytes, size: int) -> bytes | None:
        decompress = _zstd()
        if decompress is None:
            self.note("the debug information is compressed with zstd, which this Python does not read: `pip install zstandard`")
            return None
        if size > _LARGEST_FROM_ZSTD:
            raise DamagedDebugInformation(f"it says that it is {size} bytes long, decompressed")
        try:
            contents = decompress(data, size)
        # Each library raises its own.
        except Exception as error:
            raise DamagedDebugInformation(str(error)) from error
        if len(contents) != size:
            raise DamagedDebugInformation(f"it is {len(contents)} bytes long, decompressed, and not {size}")
        return contents


def _inflate(data: bytes, size: int) -> bytes:
    if size > len(data) * _MOST_TIMES_LARGER:
        raise DamagedDebugInformation(f"{len(data)} bytes cannot be {size}, decompressed")
    contents = zlib.decompressobj().decompress(data, size or 1)
    if len(contents) != size:
        raise DamagedDebugInformation(f"it is {len(contents)} bytes long, decompressed, and not {size}")
    return contents


def _inflate_old(data: bytes) -> bytes:
    """A section .zdebug_*, as GNU's tools wrote them before there was a compression header."""
    if data[:4] != _ZDEBUG_MAGIC:
        raise DamagedDebugInformation("it does not begin with ZLIB")
    return _inflate(data[12:], int.from_bytes(data[4:12], "big"))


def _zstd() -> Callable[[bytes, int], bytes] | None:
    """Decompresses to so many bytes at most: Python's own from 3.14 on, or the package zstandard. None if there is neither."""
    from importlib import import_module

    try:
        module = import_module("compression.zstd")
        return lambda data, size: bytes(module.ZstdDecompressor().decompress(data, size))
    except ImportError:
        pass
    try:
        package = import_module("zstandard")
        return lambda data, size: bytes(package.ZstdDecompressor().decompress(data, max_output_size=size))
    except ImportError:
        return None
