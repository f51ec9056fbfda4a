"""A PC's memory map as text, a region a line: what its firmware says is RAM, and what belongs to devices.

A line is `START-END TYPE`, with both addresses hexadecimal and END the last one, as in `0x100000-0xbffdffff usable`. Empty lines
and what stands behind a # count for nothing. Linux writes the same into its log (arch/x86/kernel/e820.c); of a text with lines such
as `BIOS-e820: [mem 0x0000000000100000-0x00000000bffdffff] usable`, whatever stands in front of them, these alone are read.
"""

import os
import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Final, NamedTuple

from kev.addressing import MIB
from kev.page_tables.errors import PagingError
from kev.page_tables.format import PHYSICAL_ADDRESS_BITS
from kev.user_files import read_user_file

MOST_REGIONS: Final = 1024
_LARGEST_FILE: Final = 4 * MIB
_LONGEST_LINE: Final = 1024
_LIMIT: Final = 1 << PHYSICAL_ADDRESS_BITS
_LOGGED: Final = "BIOS-e820:"
_LOG_LINE: Final = re.compile(r"BIOS-e820:\s*\[mem (\S+?)-(\S+?)\]\s*(.*?)\s*$")
_LINE: Final = re.compile(r"(\S+?)-(\S+)\s+(.*?)\s*$")
_ADDRESS: Final = re.compile(r"0x[0-9a-fA-F]{1,16}")
_USABLE: Final = "usable"
_MEMORY: Final = (_USABLE, "ACPI data", "ACPI NVS")
_TYPES: Final = (*_MEMORY, "reserved", "unusable", "soft reserved", "persistent (type N)", "type N")
_NUMBERED: Final = re.compile(r"(persistent \(type \d{1,10}\)|type \d{1,10})")


class MemoryMapError(PagingError):
    """A line of a memory map says nothing, or what cannot be. Names the line, the value and the limit."""


class Region(NamedTuple):
    """Consecutive host-physical addresses, [start, end), and what they are by the memory map's own word."""

    start: int
    end: int
    type: str = _USABLE

    @property
    def is_ram(self) -> bool:
        """An operating system may use it for whatever it likes."""
        return self.type == _USABLE

    @property
    def is_memory(self) -> bool:
        """There is memory, and no device: RAM, or tables that the firmware has left in some."""
        return self.type in _MEMORY

    def __str__(self) -> str:
        return f"{self.start:#018x}-{self.end - 1:#018x} {self.type}"


def read_memory_map(file: str | os.PathLike[str]) -> tuple[Region, ...]:
    """The regions of a file, in the order of addresses. MemoryMapError."""
    text = read_user_file(file, _LARGEST_FILE, MemoryMapError).decode("utf-8", "replace")
    return parse_memory_map(text, os.fspath(file))


def parse_memory_map(text: str, name: str) -> tuple[Region, ...]:
    """The same of a text. MemoryMapError, which calls it `name`, if a line is no region, or if regions overlap."""
    found = sorted(_regions(text, name))
    if not found:
        raise MemoryMapError(f"{name}: has no region: a line is START-END TYPE, such as 0x100000-0xbffdffff usable")
    for (before, number), (region, line) in pairwise(found):
        if region.start < before.end:
            first, second = sorted((number, line))
            raise MemoryMapError(f"{name}, line {second}: overlaps line {first}: both have {region.start:#x}")
    return tuple(region for region, _ in found)


def _regions(text: str, name: str) -> Iterator[tuple[Region, int]]:
    """Every region with the number of its line."""
    form, what = (_LOG_LINE, "BIOS-e820: [mem START-END] TYPE") if _LOGGED in text else (_LINE, "START-END TYPE")
    count = 0
    for number, line in enumerate(text.splitlines(), 1):
        content = line if form is _LOG_LINE else line.partition("#")[0].strip()
        if not content or (form is _LOG_LINE and _LOGGED not in content):
            continue
        if len(content) > _LONGEST_LINE:  # what looks for its parts takes the square of its length
            raise MemoryMapError(f"{name}, line {number}: has {len(content):,} characters: there may be {_LONGEST_LINE:,}")
        parts = form.search(content)
        if parts is None:
            raise MemoryMapError(f"{name}, line {number}: {content!r} is not {what}")
        count += 1
        if count > MOST_REGIONS:
            raise MemoryMapError(f"{name}, line {number}: is region {count:,}: there may be {MOST_REGIONS:,}")
        yield _region(*parts.groups(), where=f"{name}, line {number}"), number


def _region(first: str, last: str, type: str, *, where: str) -> Region:
    start, end = _address(first, where), _address(last, where)
    if end < start:
        raise MemoryMapError(f"{where}: ends at {end:#x}, in front of its start {start:#x}")
    if type not in _TYPES[:-2] and not _NUMBERED.fullmatch(type):
        raise MemoryMapError(f"{where}: type {type!r} is not known: there are {', '.join(_TYPES)}")
    return Region(start, end + 1, type)


def _address(text: str, where: str) -> int:
    if not _ADDRESS.fullmatch(text):
        raise MemoryMapError(f"{where}: {text!r} is no address: it must be hexadecimal, with 0x")
    address = int(text, 16)
    if address >= _LIMIT:
        raise MemoryMapError(f"{where}: {address:#x} is no physical address: the last is {_LIMIT - 1:#x}")
    return address
