"""KVM's paravirtual clock."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kev.addressing import Gpa
from kev.clock import VirtualClock
from kev.dev.base import GuestMemory, MsrDevice, PageAbsent
from kev.dev.chipset.processor import ProcessorMsrs
from kev.dev.clocks.kvmclock import KvmClock
from kev.dev.clocks.time_stamp_counter import TimeStampCounters
from kev.exits import GENERAL_PROTECTION

SYSTEM_TIME = [0x12, 0x4B56_4D01]
IA32_TSC = 0x10
IA32_TSC_ADJUST = 0x3B
WALL_CLOCK = [0x11, 0x4B56_4D00]
CLOCKS = (0x100, 0x200)
FLAGS = 29
STABLE = 1
BOOT_TIME = 1_700_000_000


class Ram:
    """Guest memory, present but for some addresses."""

    def __init__(self) -> None:
        self.bytes = bytearray(0x1000)
        self.absent = range(0)

    def read(self, gpa: Gpa, length: int) -> bytes:
        self._touch(gpa)
        return bytes(self.bytes[gpa : gpa + length])

    def write(self, gpa: Gpa, data: bytes) -> None:
        self._touch(gpa)
        self.bytes[gpa : gpa + len(data)] = data

    def _touch(self, gpa: Gpa) -> None:
        if gpa in self.absent:
            raise PageAbsent(gpa)


class Machine:
    """Two processors with a kvmclock each, whose structures are at CLOCKS."""

    def __init__(self) -> None:
        self.clock, self.ram = VirtualClock(), Ram()
        memory: GuestMemory = self.ram
        counters = TimeStampCounters(2, self.clock)
        self.device = KvmClock(counters, self.clock, BOOT_TIME, memory)
        self.registers = ProcessorMsrs(counters)
        for vcpu, address in enumerate(CLOCKS):
            self.device.write_msr(vcpu, SYSTEM_TIME[0], address | 1)

    def times(self) -> list[int]:
        """The time that each processor makes of its own time-stamp counter."""
        return [system_time(self.ram, address, self.rdtsc(vcpu)) for vcpu, address in enumerate(CLOCKS)]

    def rdtsc(self, vcpu: int) -> int:
        counter = self.registers.read_msr(vcpu, IA32_TSC)
        assert isinstance(counter, int)
        return counter

    def version(self, vcpu: int) -> int:
        return int.from_bytes(self.ram.bytes[CLOCKS[vcpu] :][:4], "little")

    def stable(self) -> list[bool]:
        return [bool(self.ram.bytes[address + FLAGS] & STABLE) for address in CLOCKS]


def make() -> tuple[KvmClock, VirtualClock, Ram]:
    clock, ram = VirtualClock(), Ram()
    memory: GuestMemory = ram
    return KvmClock(TimeStampCounters(2, clock), clock, BOOT_TIME, memory), clock, ram


def system_time(ram: Ram, address: int, tsc: int) -> int:
    """What a guest makes of the structure."""
    version, pad, tsc_timestamp, time, multiplier, shift, flags, tail = struct.unpack_from("<IIQQIbBH", ram.bytes, address)
    assert version % 2 == 0
    assert (pad, tail, flags & ~STABLE) == (0, 0, 0)
    assert multiplier != 0
    delta = tsc - tsc_timestamp
    scaled: int = (delta << shift if shift >= 0 else delta >> -shift) * multiplier >> 32
    return int(time) + scaled


def test_it_is_an_msr_device() -> None:
    device, _, _ = make()
    assert isinstance(device, MsrDevice)
    assert sorted(index for indices in device.msrs for index in indices) == sorted(SYSTEM_TIME + WALL_CLOCK)


@pytest.mark.parametrize("index", SYSTEM_TIME)
@given(registered=st.integers(0, 1 << 50), later=st.integers(0, 1 << 40))
def test_system_time_is_the_time_stamp_counter(index: int, registered: int, later: int) -> None:
    device, clock, ram = make()
    clock.advance(registered)
    assert device.write_msr(0, index, 0x100 | 1) is None
    assert system_time(ram, 0x100, registered + later) == registered + later


def test_the_frequency_in_the_structure_is_1_ghz() -> None:
    device, _, ram = make()
    device.write_msr(0, 0x4B56_4D01, 1)
    multiplier, shift = struct.unpack_from("<Ib", ram.bytes, 24)
    assert (10**6 << 32) // multiplier >> shift == 10**6


def test_every_vcpu_has_its_own_structure() -> None:
    device, clock, ram = make()
    device.write_msr(0, 0x4B56_4D01, 0x100 | 1)
    clock.advance(5_000)
    device.write_msr(1, 0x4B56_4D01, 0x200 | 1)
    assert (device.read_msr(0, 0x12), device.read_msr(1, 0x12)) == (0x101, 0x201)
    assert system_time(ram, 0x100, 7_000) == system_time(ram, 0x200, 7_000) == 7_000


def test_a_cleared_enable_bit_writes_nothing() -> None:
    device, _, ram = make()
    assert device.write_msr(0, 0x4B56_4D01, 0x100) is None
    assert not any(ram.bytes)
    assert device.read_msr(0, 0x4B56_4D01) == 0x100


@pytest.mark.parametrize("index", WALL_CLOCK)
def test_the_wall_clock_is_the_time_of_boot(index: int) -> None:
    device, clock, ram = make()
    clock.advance(10**12)
    assert device.write_msr(0, index, 0x40) is None
    version, seconds, nanoseconds = struct.unpack_from("<III", ram.bytes, 0x40)
    assert (version % 2, seconds, nanoseconds) == (0, BOOT_TIME, 0)
    assert device.read_msr(1, index) == 0x40


def test_a_wall_clock_address_of_zero_writes_nothing() -> None:
    device, _, ram = make()
    assert device.write_msr(0, 0x4B56_4D00, 0) is None
    assert not any(ram.bytes)


@pytest.mark.parametrize(("index", "value"), [(0x4B56_4D01, 0x103), (0x4B56_4D01, 0x102), (0x4B56_4D00, 0x41)])
def test_an_unaligned_address_raises_gp(index: int, value: int) -> None:
    device, _, ram = make()
    assert device.write_msr(0, index, value) is GENERAL_PROTECTION
    assert not any(ram.bytes)


@pytest.mark.parametrize("index", SYSTEM_TIME + WALL_CLOCK)
def test_an_absent_page_leaves_the_register_as_it_was(index: int) -> None:
    device, _, ram = make()
    ram.absent = range(0x1000)
    with pytest.raises(PageAbsent):
        device.write_msr(0, index, 0x40 | (index in SYSTEM_TIME))
    assert device.read_msr(0, index) == 0


@pytest.mark.parametrize("register", [IA32_TSC, IA32_TSC_ADJUST])
@given(value=st.integers(0, (1 << 63) - 1), later=st.integers(0, 1 << 40))
def test_time_goes_on_when_a_time_stamp_counter_is_set(register: int, value: int, later: int) -> None:
    machine = Machine()
    machine.clock.advance(5_000)
    before = machine.version(1)
    machine.registers.write_msr(1, register, value)
    assert machine.version(1) != before
    machine.clock.advance(later)
    assert machine.times() == [5_000 + later, 5_000 + later]


def test_a_clock_that_starts_after_its_counter_was_set_shows_the_machines_time() -> None:
    machine = Machine()
    machine.registers.write_msr(1, IA32_TSC, 1 << 50)
    machine.clock.advance(5_000)
    machine.device.write_msr(1, SYSTEM_TIME[0], CLOCKS[1] | 1)
    assert machine.times() == [5_000, 5_000]


def test_clocks_are_called_stable_while_all_counters_agree() -> None:
    machine = Machine()
    assert machine.stable() == [True, True]
    machine.registers.write_msr(0, IA32_TSC_ADJUST, 7)
    assert machine.stable() == [False, False]
    machine.registers.write_msr(1, IA32_TSC_ADJUST, 7)
    assert machine.stable() == [True, True]


def test_a_clock_that_is_switched_off_is_not_written_to() -> None:
    machine = Machine()
    machine.device.write_msr(1, SYSTEM_TIME[0], 0)
    before = bytes(machine.ram.bytes[CLOCKS[1] : CLOCKS[1] + 32])
    machine.registers.write_msr(1, IA32_TSC, 0)
    assert machine.ram.bytes[CLOCKS[1] : CLOCKS[1] + 32] == before


def test_a_counter_is_not_set_while_the_page_of_a_clock_is_absent() -> None:
    machine = Machine()
    machine.clock.advance(5_000)
    machine.ram.absent = range(CLOCKS[1], CLOCKS[1] + 1)
    before = bytes(machine.ram.bytes)
    with pytest.raises(PageAbsent):
        machine.registers.write_msr(0, IA32_TSC, 1 << 50)
    assert machine.ram.bytes == before
    assert machine.rdtsc(0) == 5_000
