"""KVM's paravirtual clock (Linux, Documentation/virt/kvm/x86/msr.rst)."""

import struct
from collections.abc import Sequence
from typing import Final

from kev.addressing import Gpa
from kev.clock import Clock
from kev.dev.base import GuestMemory
from kev.dev.clocks.time_stamp_counter import TimeStampCounters
from kev.exits import GENERAL_PROTECTION, GuestException
from kev.state import Fields, State, bits, check_count, listed

_WALL_CLOCK: Final = (0x11, 0x4B56_4D00)
_SYSTEM_TIME: Final = (0x12, 0x4B56_4D01)

_SYSTEM_TIME_LAYOUT: Final = struct.Struct("<IIQQIbB2x")
"""struct pvclock_vcpu_time_info: version, pad, tsc_timestamp, system_time, tsc_to_system_mul, tsc_shift, flags."""
_WALL_CLOCK_LAYOUT: Final = struct.Struct("<III")
"""struct pvclock_wall_clock: version, sec, nsec."""

_FIRST_VERSION: Final = 2
_NEXT_VERSION: Final = 2
"""Versions are even: an odd one says that the structure is being updated, which no guest ever sees."""
_NANOSECOND_PER_TICK: Final = (1 << 31, 1)
"""Multiplier (a fraction of 2**32) and shift: ((ticks << 1) * 2**31) >> 32 == ticks."""
_STABLE: Final = 1
"""The time-stamp counters of all vCPUs agree (PVCLOCK_TSC_STABLE_BIT)."""
_ENABLE: Final = 1
_MASK32: Final = 0xFFFF_FFFF
_MASK64: Final = 0xFFFF_FFFF_FFFF_FFFF
_FIELDS: Final = Fields({"_system_time": listed(bits(64)), "_version": bits(64), "_wall_clock": bits(64)})


class KvmClock:
    """An `MsrDevice`. System time is the machine's clock, whatever the guest sets the time-stamp counters to."""

    __slots__ = ("_boot_time", "_clock", "_counters", "_memory", "_system_time", "_version", "_wall_clock")

    name: Final = "kvmclock"
    msrs: Final[Sequence[range]] = (range(0x11, 0x13), range(0x4B56_4D00, 0x4B56_4D02))

    def __init__(self, counters: TimeStampCounters, clock: Clock, boot_time: int, memory: GuestMemory) -> None:
        """`boot_time`: when the machine was switched on, in seconds since 1970 UTC."""
        self._counters = counters
        self._clock = clock
        self._boot_time = boot_time
        self._memory = memory
        counters.changing.subscribe(self._follow_counters)
        self.reset()

    def reset(self) -> None:
        self._system_time = [0] * len(self._counters)
        self._version = _FIRST_VERSION
        self._wall_clock = 0

    def save(self) -> State:
        return _FIELDS.save(self)

    def load(self, state: State) -> None:
        _FIELDS.load(self, self.name, state)
        check_count(self.name, "system_time", self._system_time, len(self._counters))

    def read_msr(self, vcpu: int, index: int) -> int | GuestException:
        return self._system_time[vcpu] if index in _SYSTEM_TIME else self._wall_clock

    def write_msr(self, vcpu: int, index: int, value: int) -> GuestException | None:
        """Fills the structure at the address (a multiple of 4, else #GP) before the guest goes on; 0 switches a clock off."""
        if index in _WALL_CLOCK:
            return self._write_wall_clock(value)
        return self._write_system_time(vcpu, value)

    def _write_wall_clock(self, address: int) -> GuestException | None:
        if address & 3:
            return GENERAL_PROTECTION
        if address:
            self._memory.write(Gpa(address), _WALL_CLOCK_LAYOUT.pack(_FIRST_VERSION, self._boot_time & 0xFFFF_FFFF, 0))
        self._wall_clock = address
        return None

    def _write_system_time(self, vcpu: int, value: int) -> GuestException | None:
        address = value & ~_ENABLE
        if address & 3:
            return GENERAL_PROTECTION
        if value & _ENABLE:
            self._memory.write(Gpa(address), self._describe_counter(vcpu, self._counters.offsets))
        self._system_time[vcpu] = value
        return None

    def _follow_counters(self, offsets: Sequence[int]) -> None:
        """A counter is about to be set: the structures of all, whose flags depend on every counter, are written anew, or none."""
        structures = [(vcpu, Gpa(value & ~_ENABLE)) for vcpu, value in enumerate(self._system_time) if value & _ENABLE]
        for _, address in structures:
            self._memory.read(address, _SYSTEM_TIME_LAYOUT.size)
        self._version += _NEXT_VERSION
        for vcpu, address in structures:
            self._memory.write(address, self._describe_counter(vcpu, offsets))

    def _describe_counter(self, vcpu: int, offsets: Sequence[int]) -> bytes:
        """The structure by which the guest makes time of what it reads from the counter of `vcpu`."""
        now = self._clock.now()
        counter = (now + offsets[vcpu]) & _MASK64
        flags = _STABLE if len(set(offsets)) == 1 else 0
        return _SYSTEM_TIME_LAYOUT.pack(self._version & _MASK32, 0, counter, now, *_NANOSECOND_PER_TICK, flags)
