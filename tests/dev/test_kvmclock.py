"""KVM's paravirtual clock."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kev.addressing import Gpa
from kev.clock import VirtualClock
from kev.dev.base import GuestMemory, MsrDevice, PageAbsent
from kev.dev.kvmclock import KvmClock
from kev.exits import GENERAL_PROTECTION

SYSTEM_TIME = [0x12, 0x4B56_4D01]
WALL_CLOCK = [0x11, 0x4B56_4D00]
BOOT_TIME = 1_700_000_000


class Ram:
    """A page of guest memory, present or not."""

    def __init__(self) -> None:
        self.bytes = bytearray(0x1000)
        self.present = True

    def read(self, gpa: Gpa, length: int) -> bytes:
        return bytes(self.bytes[gpa : gpa + length])

    def write(self, gpa: Gpa, data: bytes) -> None:
        if not self.present:
            raise PageAbsent(gpa)
        self.bytes[gpa : gpa + len(data)] = data


def make() -> tuple[KvmClock, VirtualClock, Ram]:
    clock, ram = VirtualClock(), Ram()
    memory: GuestMemory = ram
    return KvmClock(2, clock, BOOT_TIME, memory), clock, ram


def system_time(ram: Ram, address: int, tsc: int) -> int:
    """What a guest makes of the structure."""
    version, pad, tsc_timestamp, time, multiplier, shift, flags, tail = struct.unpack_from("<IIQQIbBH", ram.bytes, address)
    assert version % 2 == 0
    assert (pad, tail, flags) == (0, 0, 1)
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
    ram.present = False
    with pytest.raises(PageAbsent):
        device.write_msr(0, index, 0x40 | (index in SYSTEM_TIME))
    assert device.read_msr(0, index) == 0
