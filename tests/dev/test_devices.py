"""All devices of a machine: names, ranges, and what happens to all of them at once."""

from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kev.addressing import PAGE_SIZE, Gpa
from kev.clock import TimerQueue, VirtualClock
from kev.dev.base import Device, PortDevice
from kev.dev.buses.claims import DeviceConflict
from kev.dev.chipset.parallel import ParallelPort
from kev.dev.debug.debug_console import DebugConsole
from kev.dev.devices import Devices, SeldomUsedPage
from kev.dev.storage.drive import Drive, DriveKind
from kev.dev.storage.overlay_disk import OverlayDisk
from kev.dev.storage.source_disk import SourceDisk
from kev.machine.disks import Disks, DriveError
from kev.machine.pc import SELDOM_USED, SELDOM_USED_PAGES, attach_platform
from kev.pager.source import FileSource
from kev.state import StateError
from tests.dev.ram import TestDisk
from tests.dev.rig import Access, Rig
from tests.examples import examples

KINDS_OF_DISKS = (DriveKind.SVIRTB, DriveKind.VIRTIO, DriveKind.VIRTIO_PCI, DriveKind.VIRTIO_PCI)
EVERY_KIND = [Drive(TestDisk().disk, kind) for kind in KINDS_OF_DISKS]


def pc(drives: Sequence[Drive] = (), seldom_used: Sequence[str] = SELDOM_USED) -> Rig:
    """A rig with all that a PC has."""
    rig = Rig(lambda rig: ())
    rig.machine = rig.machine._replace(line=rig.controllers.line)
    rig.devices = Devices(rig.buses, rig.machine, seldom_used, SELDOM_USED_PAGES)
    attach_platform(rig.devices, rig.machine, rig.controllers)
    Disks(drives, None).attach(rig.devices, rig.machine, rig.controllers, lambda gpa: memoryview(bytearray(PAGE_SIZE)))
    return rig


def names(devices: Devices) -> list[str]:
    return [device.name for device in devices]


@pytest.mark.parametrize("drives", [(), EVERY_KIND], ids=["no disks", "disks of every kind"])
def test_no_two_devices_of_a_pc_share_a_name_or_an_address(drives: Sequence[Drive]) -> None:
    devices = pc(drives).devices
    imported = sum(1 for _ in iter(devices.import_next, False))
    assert imported == len(SELDOM_USED)


@pytest.mark.parametrize("path", SELDOM_USED)
def test_a_device_that_is_built_later_has_the_name_and_the_ports_that_its_class_says(path: str) -> None:
    module, _, name = path.partition(":")
    kind: Any = getattr(import_module(module), name)
    device = kind.built_for(pc().machine)
    assert isinstance(device, Device)
    assert isinstance(device, PortDevice)
    assert (device.name, device.ports) == (kind.name, kind.ports)
    assert getattr(device, "wide_ports", ()) == getattr(kind, "wide_ports", ())


def test_every_port_of_a_device_that_is_built_later_answers() -> None:
    for path in SELDOM_USED:
        module, _, name = path.partition(":")
        kind: Any = getattr(import_module(module), name)
        rig = pc()
        for ports in kind.ports:
            for port in ports:
                assert 0 <= rig.buses.ports.read(port, 1) <= 0xFF
        assert kind.name in names(rig.devices)


@pytest.mark.parametrize("page", SELDOM_USED_PAGES)
def test_a_page_that_is_built_later_is_there_from_its_first_access_or_with_a_saved_state(page: SeldomUsedPage) -> None:
    first, second = pc(), pc()
    states = first.devices.save()
    assert page.name not in states
    device = first.buses.mmio.device_at(page.gpa)
    assert device is not None
    assert (device.name, device.gpa, device.length) == (page.name, page.gpa, PAGE_SIZE)
    states = first.devices.save()
    assert page.name in states
    second.devices.load(states)
    assert second.devices.save() == states
    assert (page.name, range(page.gpa, page.gpa + PAGE_SIZE)) in pc().buses.mmio.owners()


def test_devices_of_one_name_are_refused() -> None:
    devices = Rig(lambda rig: ()).devices
    devices.attach(ParallelPort())
    with pytest.raises(DeviceConflict, match="two devices are called 'parallel port'"):
        devices.attach(ParallelPort())


def test_devices_on_one_port_are_refused_by_both_names_when_the_second_is_imported() -> None:
    class Modem(DebugConsole):
        name = "modem"  # type: ignore[misc]
        ports = (range(0x378, 0x379),)  # type: ignore[misc]

    rig = Rig(lambda rig: ())
    devices = Devices(rig.buses, rig.machine, ["kev.dev.chipset.parallel:ParallelPort"])
    devices.attach(Modem(lambda byte: None))
    with pytest.raises(DeviceConflict, match="port 0x378 is wanted by two devices: modem and parallel port"):
        devices.import_next()


def test_the_order_is_that_of_the_machine_whatever_the_guest_accesses_first() -> None:
    rig = pc()
    before = names(rig.devices)
    rig.buses.ports.read(0x70, 1)
    rig.buses.ports.write(0x80, 1, 0)
    assert names(rig.devices) == [*before, "delay", "real-time clock"]
    assert before == [
        "time-stamp counters",
        "8259 interrupt controllers",
        "I/O APIC",
        "local APICs",
        "processors",
        "PCI configuration",
        "pc-testdev memory",
        "COM1",
        "printer",
    ]


def test_what_nobody_has_accessed_is_not_saved_and_what_was_saved_is_built() -> None:
    first, second = pc(), pc()
    first.buses.ports.write(0x378, 1, 0x5A)
    second.buses.ports.write(0x92, 1, 0)
    states = first.devices.save()
    assert "parallel port" in states
    assert "real-time clock" not in states
    second.devices.load(states)
    assert second.buses.ports.read(0x378, 1) == 0x5A
    assert second.buses.ports.read(0x92, 1) == 2, "as new"


def test_a_state_without_a_device_that_is_always_there_is_refused() -> None:
    rig = pc()
    states = rig.devices.save()
    del states["COM1"]
    with pytest.raises(StateError, match="machine: saved device 'COM1' is 'missing': it must be there"):
        rig.devices.load(states)


def test_a_state_with_a_device_that_the_machine_does_not_have_is_refused() -> None:
    states = pc(EVERY_KIND).devices.save()
    with pytest.raises(StateError, match=r"machine: saved device 'svirtb' is .*: this machine has none of that name"):
        pc().devices.load(states)


def test_a_wrong_field_is_refused_by_device_field_and_value() -> None:
    rig = pc()
    states = rig.devices.save()
    states["COM1"]["scratch"] = 256
    with pytest.raises(StateError, match="COM1: saved scratch is 256: it must be an integer from 0 to 255"):
        rig.devices.load(states)
    del states["COM1"]["scratch"]
    with pytest.raises(StateError, match="COM1: saved scratch is 'missing': it must be there"):
        rig.devices.load(states)


@pytest.mark.parametrize(
    ("kind", "count", "most"),
    [
        (DriveKind.SVIRTB, 2, 1),
        (DriveKind.VIRTIO, 6, 5),
        (DriveKind.VIRTIO_PCI, 29, 28),
        (DriveKind.IDE, 3, 2),
        (DriveKind.IDE_MASTER, 2, 1),
        (DriveKind.IDE_SECONDARY, 3, 2),
        (DriveKind.CDROM, 3, 2),
        (DriveKind.IPC, 2, 1),
    ],
)
def test_more_disks_than_a_device_can_have_are_refused(kind: DriveKind, count: int, most: int) -> None:
    drives = [Drive(TestDisk().disk, kind)] * count
    with pytest.raises(DriveError, match=f"{count} disks behind {kind.value}: there can be {most}"):
        Disks(drives, None)
    Disks(drives[:most], None)


def test_a_boot_disk_takes_the_place_of_the_first_ide_disk() -> None:
    boot, other = TestDisk().disk, TestDisk().disk
    assert list(Disks([], None).ide) == [None]
    assert list(Disks([Drive(other, DriveKind.IDE)], None).ide) == [None, other]
    assert list(Disks([Drive(other, DriveKind.IDE)], boot).ide) == [boot, other]
    with pytest.raises(DriveError, match="2 disks behind ide: there can be 1"):
        Disks([Drive(other, DriveKind.IDE)] * 2, boot)


def test_a_disk_can_be_the_first_of_the_ide_channel() -> None:
    first, second = TestDisk().disk, TestDisk().disk
    master, slave = Drive(first, DriveKind.IDE_MASTER), Drive(second, DriveKind.IDE)
    assert list(Disks([master], None).ide) == [first]
    assert list(Disks([slave, master], None).ide) == [first, second]
    with pytest.raises(DriveError, match="2 disks behind ide: there can be 1"):
        Disks([slave, slave, master], None)
    with pytest.raises(DriveError, match="a disk behind ide-master: the guest was booted from the one that is there"):
        Disks([master], TestDisk().disk)


def test_cds_and_disks_share_the_secondary_channel() -> None:
    cd, disk = TestDisk().disk, TestDisk().disk
    drives = [Drive(disk, DriveKind.IDE_SECONDARY), Drive(cd, DriveKind.CDROM)]
    assert list(Disks(drives, None).secondary_ide) == [(cd, True), (disk, False)]
    assert Disks(drives, None).numbered == [disk], "a BIOS knows only the CD that it has booted from"
    with pytest.raises(DriveError, match="2 CD-ROMs and 1 disks at the secondary IDE channel: there can be 2 together"):
        Disks([*drives, drives[1]], None)
    booted = TestDisk().disk
    with_boot_disk = Disks(drives[1:], booted, boots_from_cd=True)
    assert list(with_boot_disk.secondary_ide) == [(booted, True), (cd, True)]
    assert (list(with_boot_disk.ide), with_boot_disk.numbered) == ([None], [booted])


CONTENTS = bytes(range(256)) * 8


def source_disk(folder: Path) -> SourceDisk:
    file = folder / "boot"
    file.write_bytes(CONTENTS)
    return SourceDisk(FileSource(file, watched=False))


def overlay_disk(_folder: Path) -> OverlayDisk:
    return OverlayDisk(memoryview(CONTENTS), "disk")


def contents(disk: SourceDisk | OverlayDisk) -> bytes:
    buffer = bytearray(disk.size)
    disk.read_into(0, memoryview(buffer))
    return bytes(buffer)


@pytest.mark.parametrize("make", [source_disk, overlay_disk])
def test_what_was_written_to_a_disk_in_memory_is_saved_and_what_lies_beneath_is_not(
    make: Callable[[Path], SourceDisk | OverlayDisk], tmp_path: Path
) -> None:
    first, second = make(tmp_path), make(tmp_path)
    first.write(512, b"new!" * 128)
    second.write(0, b"old!" * 128)
    state = first.save()
    assert state == {"sectors": [1], "contents": [b"new!" * 128]}
    second.load("disk", state)
    assert contents(second) == contents(first) == CONTENTS[:512] + b"new!" * 128 + CONTENTS[1024:]
    with pytest.raises(StateError, match=r"disk: saved sectors is \[9\]"):
        second.load("disk", {"sectors": [9], "contents": [bytes(512)]})
    with pytest.raises(StateError, match="disk: saved contents"):
        second.load("disk", {"sectors": [1], "contents": [bytes(511)]})
    first.reset()
    assert contents(first) == CONTENTS
    assert first.save() == {"sectors": [], "contents": []}


def test_the_disks_that_a_machine_keeps_in_memory_are_saved_with_it(tmp_path: Path) -> None:
    def machine() -> tuple[Rig, OverlayDisk]:
        overlay = overlay_disk(tmp_path)
        return pc([Drive(TestDisk().disk, DriveKind.VIRTIO), Drive(overlay, DriveKind.SVIRTB)]), overlay

    (first, written), (second, loaded) = machine(), machine()
    written.write(0, b"kept" * 128)
    second.devices.load(first.devices.save())
    assert contents(loaded)[:512] == b"kept" * 128
    states = first.devices.save()
    states["disks"] = {"disks": [None, None, None]}
    with pytest.raises(StateError, match="disks: saved disk 1 is None: it must be there if the disk is kept in memory"):
        second.devices.load(states)


PORTS = (0x20, 0x21, 0xA1, 0x40, 0x43, 0x60, 0x64, 0x70, 0x71, 0x3F8, 0x3F9, 0x3FC, 0x1F2, 0x1F6, 0x1F7, 0x3D4, 0x3D5, 0x2009, 0xE9)
VALUES = (0, 1, 2, 3, 0x0B, 0x0C, 0x11, 0x20, 0x34, 0x42, 0x72, 0xEC, 0xF0, 0xFE, 0x08, 0x10, 0xD4)
PC_ACCESSES = st.lists(
    st.one_of(
        st.builds(
            lambda port, value: Access("port", port, 1, value),
            st.sampled_from(PORTS),
            st.one_of(st.none(), st.sampled_from(VALUES)),
        ),
        st.builds(lambda time: Access("wait", value=time), st.sampled_from((1_000, 1_000_000, 60_000_000, 1_100_000_000))),
        st.builds(Access, st.just("receive"), st.integers(0, 0xFF), st.integers(1, 20)),
        st.builds(lambda vcpu: Access("take", vcpu=vcpu), st.integers(0, 1)),
        st.builds(
            lambda offset, value: Access("mmio", 0xFEE0_0000 + offset, 4, value),
            st.sampled_from((0xB0, 0xF0, 0x320, 0x380)),
            st.sampled_from((0, 0x1FF, 0x2_0040, 100_000)),
        ),
    ),
    min_size=5,
    max_size=40,
)


@settings(max_examples=examples(40))
@given(PC_ACCESSES, PC_ACCESSES)
def test_a_whole_pc_goes_on_where_another_one_was_saved(before: list[Access], after: list[Access]) -> None:
    """Also which of several timers with the same deadline is the first, and which device is behind a shared interrupt."""
    first, second = pc(EVERY_KIND), pc(EVERY_KIND)
    first.witness(before)
    second.copy_surroundings(first)
    second.devices.load(first.devices.save())
    assert second.devices.save() == first.devices.save()
    assert second.witness(after) == first.witness(after)


@settings(max_examples=20)
@given(PC_ACCESSES, PC_ACCESSES, PC_ACCESSES)
def test_a_pc_that_was_used_can_be_made_another_one(used: list[Access], before: list[Access], after: list[Access]) -> None:
    first, second = pc(), pc()
    first.witness(before)
    second.witness(used)
    second.copy_surroundings(first)
    second.devices.load(first.devices.save())
    assert second.witness(after) == first.witness(after)


def test_an_interrupt_that_is_pending_when_it_is_saved_is_taken_by_the_other_machine() -> None:
    first, second = pc(), pc()
    for port, value in ((0x43, 0x34), (0x40, 100), (0x40, 0)):
        first.buses.ports.write(port, 1, value)
    first.do(Access("wait", value=200_000))
    second.copy_surroundings(first)
    second.devices.load(first.devices.save())
    assert ("interrupt", 0, None) in second.processors.events
    assert second.do(Access("take")) == 8
    assert second.timers.next_deadline() == first.timers.next_deadline()


def test_timers_of_one_deadline_keep_their_order() -> None:
    clock, ran = VirtualClock(), list[str]()
    queue = TimerQueue(clock)
    first, second = queue.at(10, lambda: None), queue.at(10, lambda: None)
    other = TimerQueue(clock)
    other.load(queue.save())
    other.restore((second.deadline, second.order), lambda: ran.append("second"))
    other.restore((first.deadline, first.order), lambda: ran.append("first"))
    other.at(10, lambda: ran.append("new"))
    clock.advance_to(10)
    other.run_due()
    assert ran == ["first", "second", "new"]


@pytest.mark.parametrize("order", [3, 1])
def test_a_timer_that_was_never_set_or_is_there_already_is_refused(order: int) -> None:
    queue = TimerQueue(VirtualClock())
    queue.load({"sequence": 2})
    queue.restore((10, 1), lambda: None)
    with pytest.raises(StateError, match=f"timers: saved timer is {order}: it must be one of the 2 that were set, once each"):
        queue.restore((10, order), lambda: None)


def test_a_virtual_clock_goes_on_from_when_it_was_saved() -> None:
    clock, other = VirtualClock(), VirtualClock()
    clock.advance(1234)
    other.load(clock.save())
    other.advance(1)
    assert other.now() == 1235
    with pytest.raises(StateError, match="clock: saved now is -1"):
        other.load({"now": -1})


def test_functions_that_have_changed_places_in_memory_are_found_there() -> None:
    first, second = pc(EVERY_KIND), pc(EVERY_KIND)
    addresses = {4: 0xFE00_8000, 5: 0xFE00_0000}
    for slot in (4, 5, 4):
        first.buses.ports.write(0xCF8, 4, 0x8000_0020 | slot << 11)
        first.buses.ports.write(0xCFC, 4, addresses[slot])
    first.buses.ports.write(0xCFC, 4, 0xFE00_4000)
    second.copy_surroundings(first)
    second.devices.load(first.devices.save())
    for rig in (first, second):
        assert rig.buses.mmio.device_at(Gpa(0xFE00_0000)).name == "virtio-blk at PCI 00:05.0"  # type: ignore[union-attr]
        assert rig.buses.mmio.device_at(Gpa(0xFE00_4000)).name == "virtio-blk at PCI 00:04.0"  # type: ignore[union-attr]
