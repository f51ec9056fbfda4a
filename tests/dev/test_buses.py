"""The three buses: which device gets an access, and what becomes of one that no device wants."""

import pytest

from kev.addressing import Gpa
from kev.dev.buses.claims import DeviceConflict
from kev.dev.buses.mmio import MmioBus, UnhandledMmio
from kev.dev.buses.msrs import MsrBus
from kev.dev.buses.ports import PortBus, UnhandledPort
from kev.dev.chipset.delay import DelayPorts
from kev.dev.pci.bus import PciBus
from kev.exits import GENERAL_PROTECTION, GuestException


class Latches:
    """Ports that read back what was last written to each, and keep the accesses."""

    def __init__(self, ports: range, wide: bool = False, name: str = "latches") -> None:
        self.name = name
        self.ports = (ports,)
        self.wide_ports = self.ports if wide else ()
        self.values: dict[int, int] = {}
        self.writes: list[tuple[int, int, int]] = []

    def read_port(self, port: int, size: int) -> int:
        return self.values.get(port, 0)

    def write_port(self, port: int, size: int, value: int) -> None:
        self.values[port] = value
        self.writes.append((port, size, value))


class MsrPair:
    """Two registers per vCPU."""

    msrs = (range(0x10, 0x12),)

    def __init__(self, name: str = "pair") -> None:
        self.name = name
        self.values: dict[tuple[int, int], int] = {}

    def read_msr(self, vcpu: int, index: int) -> int | GuestException:
        return self.values.get((vcpu, index), 0)

    def write_msr(self, vcpu: int, index: int, value: int) -> GuestException | None:
        self.values[vcpu, index] = value
        return None


class Window:
    """A device of memory-mapped registers that keeps the accesses."""

    def __init__(self, gpa: int, length: int, name: str = "window") -> None:
        self.name = name
        self.gpa = Gpa(gpa)
        self.length = length
        self.stores: list[tuple[int, int, int, int]] = []

    def read_mmio(self, vcpu: int, offset: int, size: int) -> int:
        return offset

    def write_mmio(self, vcpu: int, offset: int, size: int, value: int) -> None:
        self.stores.append((vcpu, offset, size, value))


def test_a_byte_access_reaches_the_device_of_its_port() -> None:
    bus, low, high = PortBus(), Latches(range(0x40, 0x44)), Latches(range(0x44, 0x45))
    bus.attach(low)
    bus.attach(high)
    bus.write(0x43, 1, 0x12)
    bus.write(0x44, 1, 0x34)
    assert (bus.read(0x43, 1), bus.read(0x44, 1)) == (0x12, 0x34)
    assert low.writes == [(0x43, 1, 0x12)]
    assert high.writes == [(0x44, 1, 0x34)]


def test_a_wide_access_to_byte_wide_ports_becomes_one_access_a_port_lowest_first() -> None:
    bus, latches = PortBus(), Latches(range(0x40, 0x44))
    bus.attach(latches)
    bus.write(0x40, 4, 0x44332211)
    assert latches.writes == [(0x40, 1, 0x11), (0x41, 1, 0x22), (0x42, 1, 0x33), (0x43, 1, 0x44)]
    assert bus.read(0x40, 4) == 0x44332211
    assert bus.read(0x42, 2) == 0x4433


def test_a_wide_access_may_span_two_devices() -> None:
    bus, low, high = PortBus(), Latches(range(0x70, 0x71)), Latches(range(0x71, 0x72))
    bus.attach(low)
    bus.attach(high)
    bus.write(0x70, 2, 0xAB0F)
    assert (low.values[0x70], high.values[0x71]) == (0x0F, 0xAB)
    assert bus.read(0x70, 2) == 0xAB0F


def test_a_wide_access_that_reaches_a_device_reads_ones_where_there_is_none() -> None:
    bus = PortBus()
    bus.attach(Latches(range(0x41, 0x42)))
    bus.write(0x41, 1, 0x5A)
    assert bus.read(0x40, 4) == 0xFFFF5AFF


def test_a_wide_port_gets_wide_accesses_whole() -> None:
    bus, device = PortBus(), Latches(range(0xCF8, 0xCFC), wide=True)
    bus.attach(device)
    bus.write(0xCF8, 4, 0x80000000)
    bus.write(0xCF9, 1, 6)
    assert device.writes == [(0xCF8, 4, 0x80000000), (0xCF9, 1, 6)]
    assert bus.read(0xCF8, 4) == 0x80000000


def test_a_wide_access_at_the_last_port_goes_on_at_port_0() -> None:
    bus, latches = PortBus(), Latches(range(1))
    bus.attach(latches)
    bus.write(0xFFFF, 2, 0x1234)
    assert latches.writes == [(0, 1, 0x12)]
    assert bus.read(0xFFFF, 2) == 0x12FF


@pytest.mark.parametrize(("size", "ones"), [(1, 0xFF), (2, 0xFFFF), (4, 0xFFFF_FFFF)])
def test_a_port_without_a_device_reads_as_all_ones_and_ignores_writes(size: int, ones: int) -> None:
    bus = PortBus()
    bus.write(0x1234, size, 0)
    assert bus.read(0x1234, size) == ones


def test_a_strict_bus_names_the_port_and_the_access_that_nobody_answers() -> None:
    bus = PortBus(strict=True)
    with pytest.raises(UnhandledPort, match="port 0x1234: the guest reads 2 bytes, and no device answers"):
        bus.read(0x1234, 2)
    with pytest.raises(UnhandledPort, match=r"port 0x1234: the guest writes 0xbeef \(4 bytes\), and no device answers"):
        bus.write(0x1234, 4, 0xBEEF)


def test_a_strict_bus_takes_writes_to_ignored_ports() -> None:
    bus = PortBus(strict=True)
    bus.attach(DelayPorts())
    bus.write(0x80, 1, 0x31)
    assert bus.read(0x84, 1) == 0xFF


def test_two_devices_on_one_port_are_refused_by_name() -> None:
    bus = PortBus()
    bus.attach(Latches(range(0x3F8, 0x400), name="COM1"))
    with pytest.raises(DeviceConflict, match="port 0x3ff is wanted by two devices: COM1 and modem"):
        bus.attach(Latches(range(0x3FF, 0x401), name="modem"))
    assert bus.read(0x400, 1) == 0xFF, "the refused device has none of its ports"


def test_a_device_that_is_attached_later_is_made_by_the_first_access_to_it() -> None:
    bus = PortBus()
    made: list[Latches] = []

    def build() -> Latches:
        made.append(Latches(range(0x60, 0x62)))
        return made[-1]

    bus.attach_later(Latches(range(0x60, 0x62)), build)
    bus.read(0x62, 4)
    assert not made
    bus.write(0x61, 1, 7)
    bus.write(0x60, 1, 8)
    assert len(made) == 1
    assert made[0].writes == [(0x61, 1, 7), (0x60, 1, 8)]


def test_a_wide_access_may_be_the_first_to_two_devices() -> None:
    bus = PortBus()
    byte_wide, wide = Latches(range(0x10, 0x11)), Latches(range(0x11, 0x13), wide=True)
    bus.attach_later(byte_wide, lambda: byte_wide)
    bus.attach_later(wide, lambda: wide)
    bus.write(0x10, 2, 0x0201)
    bus.write(0x11, 2, 0x0403)
    assert byte_wide.writes == [(0x10, 1, 1)]
    assert wide.writes == [(0x11, 1, 2), (0x11, 2, 0x0403)]


def test_a_device_that_is_attached_later_has_its_ports_already() -> None:
    bus = PortBus()
    com1 = Latches(range(0x3F8, 0x400), name="COM1")
    bus.attach_later(com1, lambda: com1)
    with pytest.raises(DeviceConflict, match="port 0x3ff is wanted by two devices: COM1 and modem"):
        bus.attach(Latches(range(0x3FF, 0x401), name="modem"))


class Shelf:
    """Devices that are put on a bus one by one, when it asks for more."""

    def __init__(self, *devices: Latches) -> None:
        self.bus = PortBus()
        self.bus.find_more = self._take
        self.left = list(devices)

    def _take(self) -> bool:
        if not self.left:
            return False
        device = self.left.pop(0)
        self.bus.attach_later(device, lambda: device)
        return True


def test_an_access_that_nobody_answers_looks_for_more_devices_until_somebody_does() -> None:
    first, second, third = Latches(range(0x10, 0x11)), Latches(range(0x20, 0x21)), Latches(range(0x30, 0x31))
    shelf = Shelf(first, second, third)
    shelf.bus.write(0x20, 1, 7)
    assert second.writes == [(0x20, 1, 7)]
    assert shelf.left == [third]
    shelf.bus.write(0x10, 1, 8)
    assert first.writes == [(0x10, 1, 8)]
    assert shelf.left == [third], "it was there already"


def test_a_port_that_no_device_has_looks_for_all_of_them_once() -> None:
    shelf = Shelf(Latches(range(0x10, 0x11)), Latches(range(0x20, 0x21)))
    assert shelf.bus.read(0x40, 1) == 0xFF
    assert shelf.left == []
    assert shelf.bus.read(0x40, 1) == 0xFF


def test_a_wide_access_looks_until_every_byte_or_the_whole_is_answered() -> None:
    low, high, rest = Latches(range(0x10, 0x11)), Latches(range(0x11, 0x12)), Latches(range(0x20, 0x21))
    shelf = Shelf(low, high, rest)
    shelf.bus.write(0x10, 2, 0x0201)
    assert (low.writes, high.writes) == ([(0x10, 1, 1)], [(0x11, 1, 2)])
    assert shelf.left == [rest]
    wide = Latches(range(0x10, 0x11), wide=True)
    shelf = Shelf(wide, rest)
    shelf.bus.write(0x10, 4, 5)
    assert wide.writes == [(0x10, 4, 5)]
    assert shelf.left == [rest]


def test_a_device_can_be_made_before_the_guest_accesses_it() -> None:
    made: list[Latches] = []

    def build() -> Latches:
        made.append(device)
        return device

    bus, device = PortBus(), Latches(range(0x60, 0x62))
    bus.attach_later(device, build)
    bus.build_at(0x61)
    bus.build_at(0x61)
    assert made == [device]
    bus.write(0x60, 1, 3)
    assert device.writes == [(0x60, 1, 3)]


def test_a_pci_scan_finds_nothing() -> None:
    bus = PortBus(strict=True)
    bus.attach(PciBus())
    for device in range(32):
        bus.write(0xCF8, 4, 0x8000_0000 | device << 11)
        assert bus.read(0xCFC, 4) == 0xFFFF_FFFF
        assert bus.read(0xCFE, 2) == 0xFFFF


def test_the_pci_configuration_address_reads_back() -> None:
    pci = PciBus()
    pci.write_port(0xCF8, 4, 0x8000_F803)
    assert pci.read_port(0xCF8, 4) == 0x8000_F800
    pci.write_port(0xCFB, 1, 0x01)
    pci.write_port(0xCFC, 4, 0)
    assert pci.read_port(0xCF8, 4) == 0x8000_F800, "only a dword at 0xcf8 changes it"


def test_port_0xcf9_resets_the_machine() -> None:
    bus, pci = PortBus(strict=True), PciBus()
    resets: list[None] = []
    pci.connect(lambda: resets.append(None))
    bus.attach(pci)
    bus.write(0xCF8, 4, 0x8000_0404)
    bus.write(0xCF9, 1, bus.read(0xCF9, 1) | 2)
    assert not resets
    bus.write(0xCF9, 1, 6)
    assert (len(resets), bus.read(0xCF8, 4)) == (1, 0x8000_0404)


def test_an_msr_access_reaches_its_device_with_the_vcpu() -> None:
    bus, device = MsrBus(), MsrPair()
    bus.attach(device)
    assert bus.write(3, 0x11, 1 << 63) is None
    assert bus.read(3, 0x11) == 1 << 63
    assert bus.read(2, 0x11) == 0


def test_an_unknown_msr_is_a_general_protection_fault() -> None:
    bus = MsrBus()
    assert bus.read(0, 0x1234) == GENERAL_PROTECTION
    assert bus.write(0, 0x1234, 1) == GENERAL_PROTECTION


def test_a_lenient_bus_reads_unknown_msrs_as_0_and_ignores_writes() -> None:
    bus = MsrBus(lenient=True)
    assert bus.write(0, 0x1234, 1) is None
    assert bus.read(0, 0x1234) == 0


def test_two_devices_on_one_msr_are_refused_by_name() -> None:
    bus = MsrBus()
    bus.attach(MsrPair("kvmclock"))
    with pytest.raises(DeviceConflict, match="MSR 0x10 is wanted by two devices: kvmclock and TSC"):
        bus.attach(MsrPair("TSC"))


def test_an_mmio_access_reaches_its_device_with_the_offset() -> None:
    bus, window = MmioBus(), Window(0xCAFE0000, 0x2000)
    bus.attach(window)
    assert bus.load(0, Gpa(0xCAFE1008), 8) == 0x1008
    bus.store(2, Gpa(0xCAFE0010), 4, 7)
    assert window.stores == [(2, 0x10, 4, 7)]


def test_the_device_at_a_page_is_found_and_its_neighbours_have_none() -> None:
    bus, window = MmioBus(), Window(0xCAFE0000, 0x1000)
    bus.attach(window)
    assert bus.device_at(Gpa(0xCAFE0FFF)) is window
    assert bus.device_at(Gpa(0xCAFDFFFF)) is None
    assert bus.device_at(Gpa(0xCAFE1000)) is None


def test_an_mmio_access_that_nobody_answers_is_an_error_that_names_it_on_a_strict_bus() -> None:
    with pytest.raises(UnhandledMmio, match="gpa 0xdead0000: the guest reads 4 bytes, and no device answers"):
        MmioBus(strict=True).load(0, Gpa(0xDEAD0000), 4)
    with pytest.raises(UnhandledMmio, match=r"gpa 0xdead0000: the guest writes 0x5 \(1 bytes\), and no device answers"):
        MmioBus(strict=True).store(0, Gpa(0xDEAD0000), 1, 5)


def test_two_devices_on_one_page_are_refused_by_name() -> None:
    bus = MmioBus()
    bus.attach(Window(0xCAFE0000, 0x1000, "printer"))
    with pytest.raises(DeviceConflict, match="gpa 0xcafe0000 is wanted by two devices: printer and svirtb"):
        bus.attach(Window(0xCAFDF000, 0x2000, "svirtb"))


def test_a_device_of_less_than_a_page_is_refused() -> None:
    with pytest.raises(ValueError, match="window: 0x800 bytes at 0xcafe0000 are not whole pages"):
        MmioBus().attach(Window(0xCAFE0000, 0x800))
