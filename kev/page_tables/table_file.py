"""Extended page tables as files that can be looked into with any tool: an image of the memory that they lie in.

    offset 0            the line `kev-ept 1`, then a JSON object about the tables, padded with spaces to a multiple of 4 KiB
    behind it           the tables, 4 KiB each, as the CPU would read them; the first is the root (PML4)

An address in an entry that points to a table is an offset in the file. The object has `eptp`, what the EPT pointer would be, and of
tables that were made by rule `plan`: `memory`, `shift`, `style`, and `memory_map`, the lines of the host's.
"""

import json
import os
import struct
from typing import Any, Final, NamedTuple

from kev.addressing import MIB, PAGE_SIZE, Hpa, page_ceil
from kev.host_memory import HostMemory
from kev.page_tables.audit import Kind, audit
from kev.page_tables.ept import EptFormat
from kev.page_tables.errors import PagingError
from kev.page_tables.format import ADDRESS_MASK, LEVELS, is_leaf
from kev.page_tables.identity import QUICK, WholeMachine
from kev.page_tables.mapping import MemoryType
from kev.page_tables.memory_map import Region, parse_memory_map
from kev.page_tables.table import PageTable
from kev.user_files import read_user_file
from kev.user_json import each, integer, optional, parse_user_json, record, text

MAGIC: Final = b"kev-ept 1\n"
LARGEST_FILE: Final = 160 * MIB
_LARGEST_HEADER: Final = 1 * MIB
_WALK_LENGTH: Final = LEVELS - 1 << 3
"""Of the EPT pointer, bits 3-5: one less than the levels (SDM vol. 3, "Extended-page-table pointer")."""
_PLAN: Final = record({"memory": integer(), "shift": integer(), "style": text, "memory_map": each(text)})
_HEADER: Final = record({"eptp": integer()}, {"plan": optional(_PLAN)})
_ENTRIES: Final = struct.Struct("<512Q")


class TableFileError(PagingError):
    """A file is not what `write_table` makes, or what is in it cannot be used. Names the file."""


class Ept(NamedTuple):
    """Extended page tables, and what is known about them."""

    name: str
    """What they are called in messages."""
    table: PageTable
    plan: WholeMachine | None = None
    """What they were made by; None if by no rule."""

    @property
    def eptp(self) -> int:
        """The EPT pointer: the root, the length of a walk, and how the tables themselves are cached: write-back, or UC if quick."""
        is_quick = self.plan is not None and self.plan.style == QUICK
        return self.table.root | _WALK_LENGTH | (MemoryType.UC if is_quick else MemoryType.WB)


def table_bytes(ept: Ept) -> bytes:
    """What a file of these tables contains. Their tables are numbered anew, in the order of a walk through all of them."""
    about: dict[str, Any] = {"plan": plan_as_json(ept.plan)}
    start = page_ceil(len(_header({"eptp": LARGEST_FILE, **about})))
    table = ept.table
    places = {hpa: start + number * PAGE_SIZE for number, (_, hpa) in enumerate(table.links())}
    parts = [_header({"eptp": start | ept.eptp & PAGE_SIZE - 1, **about}).ljust(start)]
    for level, hpa in table.links():
        page = table.memory.page(Hpa(hpa)).tobytes()
        parts.append(page if level == 1 else _moved(page, level, places, table.format.present))
    return b"".join(parts)


def parse_table(data: bytes, name: str) -> Ept:
    """The tables in the contents of a file. TableFileError if they are none; what is wrong in the tables, `audit` finds."""
    if not data.startswith(MAGIC):
        raise TableFileError(f"{name}: has no tables: it begins with {data[: len(MAGIC)]!r}, and not with {MAGIC!r}")
    header, start = _parsed_header(data, name)
    size = len(data)
    if size % PAGE_SIZE or size == start:
        raise TableFileError(f"{name}: is cut short: {size - start:,} bytes of tables are no multiple of {PAGE_SIZE:,}, or none")
    if header["eptp"] & -PAGE_SIZE != start:
        raise TableFileError(f"{name}: its eptp is {header['eptp']:#x}: the root is behind the header, at {start:#x}")
    memory = HostMemory(size)
    memory.allocate(size // PAGE_SIZE - 1)
    memory.view[start:] = data[start:]
    table = PageTable(memory, EptFormat(), (Hpa(start), (size - start) // PAGE_SIZE))
    return Ept(name, table, _parsed_plan(header.get("plan"), name))


def read_table(file: str | os.PathLike[str]) -> Ept:
    """The same of a file. TableFileError if it cannot be read, or has more than `LARGEST_FILE` bytes."""
    return parse_table(read_user_file(file, LARGEST_FILE, TableFileError, MAGIC), os.fspath(file))


def check_tree(ept: Ept) -> None:
    """TableFileError if the tables are no tree of well-formed entries: then only `audit` and `walk` say something of them."""
    for finding in audit(ept.table):
        if finding.kind is Kind.ENTRY:
            raise TableFileError(f"{ept.name}: has a wrong entry, of which `kev ept audit` says all: {finding}")


def _moved(page: bytes, level: int, places: dict[int, int], present: int) -> bytes:
    """A table whose entries point to where their tables are in the file."""
    entries = (
        places[entry & ADDRESS_MASK] | entry & ~ADDRESS_MASK if entry & present and not is_leaf(entry, level) else entry
        for entry in _ENTRIES.unpack(page)
    )
    return _ENTRIES.pack(*entries)


def _header(about: dict[str, Any]) -> bytes:
    return MAGIC + json.dumps(about, indent=1).encode() + b"\n"


def _parsed_header(data: bytes, name: str) -> tuple[dict[str, Any], int]:
    """The JSON object, and where the tables begin."""
    end = data.find(b"\n}", 0, _LARGEST_HEADER)
    if end < 0:
        raise TableFileError(f"{name}: is damaged: its header has no end in the first {_LARGEST_HEADER:,} bytes")
    end += len(b"\n}")
    return parse_user_json(data[len(MAGIC) : end], name, TableFileError, "a header of tables", _HEADER), page_ceil(end)


def plan_as_json(plan: WholeMachine | None) -> dict[str, Any] | None:
    """What a file says of a plan."""
    if plan is None:
        return None
    return {
        "memory": plan.memory,
        "shift": plan.shift,
        "style": plan.style,
        "memory_map": [str(region) for region in plan.regions],
    }


def _parsed_plan(plan: dict[str, Any] | None, name: str) -> WholeMachine | None:
    if plan is None:
        return None
    lines = plan["memory_map"]
    regions: tuple[Region, ...] = parse_memory_map("\n".join(lines), f"{name}: memory_map") if lines else ()
    try:
        return WholeMachine(plan["memory"], plan["shift"], regions, plan["style"]).checked()
    except PagingError as error:
        raise TableFileError(f"{name}: its plan cannot be: {error}") from error
