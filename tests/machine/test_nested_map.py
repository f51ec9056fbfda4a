"""What a guest's nested tables map, as extended page tables: while it runs, when it has ended, and in a snapshot."""

from pathlib import Path

import pytest

import kev
from kev.addressing import PAGE_SIZE
from kev.machine.conditions import ConditionError
from kev.machine.ending import Ending
from kev.machine.errors import MachineError
from kev.machine.nested_map import ept_of_run, ept_of_snapshot
from kev.page_tables.audit import audit
from kev.page_tables.mapping import MemoryType, Permissions
from kev.page_tables.table import PageTable
from kev.pager.pages import PageState
from kev.pager.source import FileSource
from kev.spec.machine_spec import MachineSpec


def pages(table: PageTable) -> set[int]:
    return {gpa for mapped in table.ranges() for gpa in range(mapped.gpa, mapped.end, PAGE_SIZE)}


def test_a_machine_that_is_held_shows_its_map_which_stays_what_it_was() -> None:
    with kev.start("echo") as machine:
        machine.expect("echo> ", timeout=30)
        machine.pause()
        before = machine.ept()
        assert before.format.name == "EPT"
        assert audit(before) == []
        counter = machine.symbol("lines_read")
        assert pages(before)
        machine.resume()
        machine.send("hello\n")
        machine.expect("you said: hello", timeout=30)
        assert machine.read(counter.size, gva=counter.address) == b"\1\0\0\0"
        shown = before.dump()
        assert pages(before) <= pages(machine.ept())
        assert before.dump() == shown
        machine.stop()
        assert pages(machine.ept()) >= pages(before)
    with pytest.raises(MachineError, match="the machine is closed"):
        machine.ept()


def test_exactly_the_present_pages_are_mapped() -> None:
    seen: list[tuple[PageTable, int]] = []
    kev.launch("hypercalls", at_end=lambda machine: seen.append((machine.ept(), machine.report().pages_loaded)))
    ((table, loaded),) = seen
    assert pages(table) == {0x100000}
    assert loaded == 1
    mapping = table.walk(0x100000)
    assert mapping is not None
    assert (mapping.permissions, mapping.memory_type) == (Permissions.RWX, MemoryType.WB)


def test_a_devices_page_is_uncacheable() -> None:
    table = ept_of_run(MachineSpec(image="virtio"), None, lambda _: None, lambda _: None)
    kinds = {mapped.memory_type for mapped in table.ranges()}
    assert kinds == {MemoryType.WB, MemoryType.UC}
    assert audit(table) == []


def test_a_run_is_looked_at_where_it_comes_to_a_condition_and_ends_there() -> None:
    printed: list[bytes] = []
    endings: list[Ending] = []
    half = ept_of_run(MachineSpec(image="gKeOS"), "output:PCI bus", printed.append, endings.append)
    assert b"".join(printed).endswith(b"PCI bus 0:\n")
    assert not endings
    whole = ept_of_run(MachineSpec(image="gKeOS"), None, printed.append, endings.append)
    assert pages(half) < pages(whole)


def test_a_run_that_does_not_come_to_the_condition_is_an_error() -> None:
    with pytest.raises(ConditionError, match=r"^hypercalls: the run has ended before output:nothing"):
        ept_of_run(MachineSpec(image="hypercalls"), "output:nothing", lambda _: None, lambda _: None)


def test_a_guest_that_dies_leaves_its_map_and_its_ending() -> None:
    endings: list[Ending] = []
    table = ept_of_run(MachineSpec(image="triple"), None, lambda _: None, endings.append)
    assert pages(table)
    assert "triple fault" in str(endings[0])


def test_a_snapshot_has_the_pages_of_its_machine_and_of_its_parents(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    with kev.start("echo") as machine:
        machine.expect("echo> ", timeout=30)
        machine.snapshot(first)
        machine.send("hello\n")
        machine.expect("you said: hello", timeout=30)
        machine.pause()
        machine.snapshot(second, parent=first)
        mapped = {gpa for gpa in pages(machine.ept()) if machine.page(gpa) is PageState.PRESENT}
        assert mapped
    for file in (first, second):
        with FileSource(file) as source:
            table = ept_of_snapshot(source)
        assert audit(table) == []
        assert all(int(mapped.gpa) == mapped.hpa for mapped in table.ranges())
        if file == second:
            assert pages(table) >= mapped
