"""Files of tables: what is written is read again, can be looked into by hand, and whatever is in a file harms nobody."""

import json
import struct
from contextlib import suppress
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kev.addressing import GIB, MIB, PAGE_SIZE, Gpa, Hpa
from kev.host_memory import HostMemory
from kev.page_tables.audit import audit
from kev.page_tables.ept import EptFormat
from kev.page_tables.identity import QUICK, SHIFT, WholeMachine
from kev.page_tables.mapping import MemoryType, PageSize, Permissions
from kev.page_tables.memory_map import Region
from kev.page_tables.steps import walk
from kev.page_tables.table import PageTable
from kev.page_tables.table_file import Ept, TableFileError, check_tree, parse_table, read_table, table_bytes
from tests.fs.errors import refused

PLAN = WholeMachine(4 * GIB, SHIFT, (Region(0, 0xA0000), Region(MIB, 3 * GIB), Region(0xFD000000, 0xFD100000, "ACPI NVS")))


def small() -> Ept:
    table = PageTable(HostMemory(MIB), EptFormat())
    table.map(Gpa(0x5000), Hpa(0x7000), Permissions.RX, memory_type=MemoryType.UC)
    table.map(Gpa(2 * MIB), Hpa(64 * MIB), size=PageSize.SIZE_2M)
    return Ept("small", table)


@cache
def small_file() -> bytes:
    return table_bytes(small())


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "machine.ept"
    file.write_bytes(table_bytes(Ept("machine", PLAN.build(), PLAN)))
    found = read_table(file)
    assert found.plan == PLAN
    assert list(found.table.ranges()) == PLAN.ranges()
    assert audit(found.table, found.plan) == []
    assert table_bytes(found) == file.read_bytes()


def test_the_file_begins_with_text_and_addresses_of_tables_are_offsets() -> None:
    data = small_file()
    header, _, rest = data.partition(b"\n}")
    assert header.startswith(b"kev-ept 1\n")
    about = json.loads(header.removeprefix(b"kev-ept 1\n") + b"\n}")
    assert about == {"eptp": 0x101E, "plan": None}
    assert rest[: PAGE_SIZE - len(header) - 2].isspace()
    place = about["eptp"] & -PAGE_SIZE
    for index in (0, 0, 0):
        (place,) = struct.unpack_from("<Q", data, (place & ~0xFFF) + 8 * index)
    assert struct.unpack_from("<Q", data, (place & ~0xFFF) + 8 * 5) == (0x7005,)


def test_the_quick_style_caches_no_tables_and_a_walk_has_four_levels() -> None:
    quick = WholeMachine(2 * MIB, SHIFT, style=QUICK)
    assert Ept("quick", quick.build(), quick).eptp & 0xFFF == 3 << 3
    assert small().eptp & 0xFFF == 3 << 3 | 6


def test_a_table_can_be_changed_after_it_was_read() -> None:
    table = parse_table(small_file(), "small").table
    table.unmap(Gpa(0x5000))
    assert table.tables == 3
    assert table.dump() == ["0x0000000000200000-0x00000000003fffff -> 0x0000000004000000  1 x 2 MiB  RWX WB"]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda data: b"", "it: has no tables: it begins with b'', and not with b'kev-ept 1\\n'"),
        (lambda data: data[:0x1800], "it: is cut short: 2,048 bytes of tables are no multiple of 4,096, or none"),
        (lambda data: data[:0x1000], "it: is cut short: 0 bytes of tables are no multiple of 4,096, or none"),
        (lambda data: data[:30], "it: is damaged: its header has no end in the first 1,048,576 bytes"),
        (lambda data: data.replace(b"4126", b"4125x"), None),
        (lambda data: data.replace(b"4126", b"8222"), "it: its eptp is 0x201e: the root is behind the header, at 0x1000"),
        (lambda data: data.replace(b'"eptp"', b'"epto"'), "it: not a header of tables: it has no 'eptp'"),
        (lambda data: data.replace(b"null", b"1234"), "it: not a header of tables: plan is 1234: it must be an object"),
    ],
)
def test_what_is_no_file_of_tables_is_refused_by_name(change: object, problem: str | None) -> None:
    with pytest.raises(TableFileError) as caught:
        parse_table(change(small_file()), "it")  # type: ignore[operator]
    assert problem is None or str(caught.value) == problem


def test_a_plan_that_cannot_be_is_refused() -> None:
    data = table_bytes(Ept("machine", small().table, WholeMachine(4 * GIB)))
    with refused(TableFileError, "it: its plan cannot be: identity map: there is no style 'fixed': there are mixed, quick"):
        parse_table(data.replace(b'"mixed"', b'"fixed"'), "it")


def test_tables_that_are_no_tree_are_refused_where_all_of_them_would_have_to_be_read() -> None:
    data = bytearray(small_file())
    struct.pack_into("<Q", data, 0x1000 + 8, 0x1007)
    ept = parse_table(bytes(data), "it")
    with pytest.raises(TableFileError, match=r"^it: has a wrong entry, of which `kev ept audit` says all: .* is already the root$"):
        check_tree(ept)


@given(st.lists(st.tuples(st.integers(0x1000, len(small_file()) - 1), st.integers(0, 255)), min_size=1, max_size=12))
def test_whatever_is_in_the_tables_they_can_be_audited_and_walked(changes: list[tuple[int, int]]) -> None:
    data = bytearray(small_file())
    for offset, byte in changes:
        data[offset] = byte
    ept = parse_table(bytes(data), "it")
    assert isinstance(audit(ept.table), list)
    for gpa in (0, 0x5000, 2 * MIB, 1 << 47):
        walked = walk(ept.table, gpa)
        assert (walked.hpa is None) == (walked.error is not None)
    try:
        check_tree(ept)
    except TableFileError:
        return
    assert len(ept.table.dump()) <= 512 * 4


@given(st.binary(max_size=300))
def test_any_header_is_read_or_refused(header: bytes) -> None:
    data = (b"kev-ept 1\n" + header).ljust(PAGE_SIZE, b" ") + small_file()[PAGE_SIZE:]
    with suppress(TableFileError):
        assert parse_table(data, "it").table.tables == 4
