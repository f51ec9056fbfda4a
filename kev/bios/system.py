"""INT 15h: memory and what else belongs to the whole machine (ACPI specification, "System address map interfaces"; IBM PC/AT
technical reference; Ralf Brown's Interrupt List).
"""

import struct
from collections.abc import Sequence
from typing import Final

from kev.addressing import KIB, MIB, Gpa
from kev.bios.call import BiosCall, NotServed, Service
from kev.bios.rom import CONFIGURATION, SEGMENT, VMCALL, WAIT_FOR_TIME
from kev.clock import Clock
from kev.dev.base import GuestMemory
from kev.pager.memory_region import MemoryRegion, RegionType

UNSUPPORTED: Final = 0x86
"""What AH says of a function that is not there."""

_SMAP: Final = 0x534D4150
_REGION: Final = struct.Struct("<QQI")
_16_MIB: Final = 16 * MIB
_64_KIB: Final = 64 * KIB
_MOST_EXTENDED_KIB: Final = 0xFC00

_DESCRIPTOR: Final = struct.Struct("<HHBBBB")
"""Limit, base 0-15, base 16-23, access, limit and flags, base 24-31."""
_MOVE_TABLE: Final = 6 * _DESCRIPTOR.size
_MOVE_SOURCE: Final = 2
_MOVE_DESTINATION: Final = 3

_A20_ENABLED: Final = 1
_A20_SWITCHES: Final = 3
"""By the keyboard controller, and by port 92h."""

DEADLINE: Final = 0x9FC20
"""Where INT 15h, AH = 86h keeps what it waits for: 8 bytes of the extended BIOS data area, nanoseconds by the machine's clock."""
_EBDA_SEGMENT: Final = 0x9FC0


class SystemServices:
    def __init__(self, regions: Sequence[MemoryRegion], memory: GuestMemory, clock: Clock) -> None:
        """`regions` is what the machine's memory consists of."""
        self._regions: Final = regions
        self._memory: Final = memory
        self._clock: Final = clock
        self.functions: Final[dict[int, Service]] = {
            0x24: self._address_line_20,
            0x4F: self._refuse,  # a key that nobody translates
            0x86: self._wait,
            0x87: self._move,
            0x88: self._extended_memory,
            0x90: self._succeed,  # a device is busy
            0x91: self._succeed,  # a device is ready
            0xC0: self._configuration,
            0xC1: self._extended_data_area,
            0xC2: self._refuse,  # a mouse
            0xE8: self._large_memory,
            0xE9: self._refuse,  # SpeedStep
            0xEC: self._succeed,  # the caller is going to 64-bit mode
        }
        """By AH."""

    def _refuse(self, call: BiosCall) -> None:
        call.ah = UNSUPPORTED
        call.set_carry(True)

    def _succeed(self, call: BiosCall) -> None:
        call.ah = 0
        call.set_carry(False)

    # Memory

    def _large_memory(self, call: BiosCall) -> None:
        if call.al == 0x20 and call.vcpu.rdx & 0xFFFF_FFFF == _SMAP:
            self._address_map(call)
        elif call.al == 0x01:
            self._above_1_mib(call)
        elif call.al in (0x20, 0x81):
            self._refuse(call)
        else:
            raise NotServed(f"AL = {call.al:02x}h")

    def _address_map(self, call: BiosCall) -> None:
        index, vcpu = call.vcpu.rbx & 0xFFFF_FFFF, call.vcpu
        if index >= len(self._regions) or vcpu.rcx & 0xFFFF_FFFF < _REGION.size:
            self._refuse(call)
            return
        region = self._regions[index]
        call.write("es", call.di, _REGION.pack(region.base, region.length, region.type))
        vcpu.rax, vcpu.rcx = _SMAP, _REGION.size
        vcpu.rbx = (index + 1) % len(self._regions)
        call.set_carry(False)

    def _above_1_mib(self, call: BiosCall) -> None:
        end = self._end_of_extended_memory
        below = (min(end, _16_MIB) - MIB) // KIB
        above = max(end - _16_MIB, 0) // _64_KIB
        call.ax = call.cx = below
        call.bx = call.dx = above
        call.set_carry(False)

    def _extended_memory(self, call: BiosCall) -> None:
        call.ax = min((self._end_of_extended_memory - MIB) // KIB, _MOST_EXTENDED_KIB)
        call.set_carry(False)

    @property
    def _end_of_extended_memory(self) -> int:
        """Of the RAM that begins at 1 MiB."""
        ends = [region.base + region.length for region in self._regions if _is_extended(region)]
        return ends[0] if ends else MIB

    def _move(self, call: BiosCall) -> None:
        """Copies CX words from where one descriptor of the table at ES:SI points to where another one does."""
        table = list(_DESCRIPTOR.iter_unpack(call.read("es", call.si, _MOVE_TABLE)))
        source, destination = _base(table[_MOVE_SOURCE]), _base(table[_MOVE_DESTINATION])
        self._memory.write(destination, self._memory.read(source, 2 * call.cx))
        self._succeed(call)

    # The rest

    def _address_line_20(self, call: BiosCall) -> None:
        """It is always enabled."""
        if call.al == 0x00:
            self._refuse(call)
            return
        if call.al > 0x03:
            raise NotServed(f"AL = {call.al:02x}h")
        if call.al == 0x02:
            call.al = _A20_ENABLED
        elif call.al == 0x03:
            call.bx = _A20_SWITCHES
        self._succeed(call)

    def _wait(self, call: BiosCall) -> None:
        """CX:DX microseconds."""
        deadline = int.from_bytes(self._memory.read(Gpa(DEADLINE), 8), "little")
        now = self._clock.now()
        if not deadline:
            deadline = now + (call.cx << 16 | call.dx) * 1000
        waits = now < deadline
        self._memory.write(Gpa(DEADLINE), (deadline if waits else 0).to_bytes(8, "little"))
        if waits:
            call.go_to(WAIT_FOR_TIME, len(VMCALL))
        else:
            self._succeed(call)

    def _configuration(self, call: BiosCall) -> None:
        call.point("es", "bx", SEGMENT, CONFIGURATION)
        self._succeed(call)

    def _extended_data_area(self, call: BiosCall) -> None:
        call.point("es", "bx", _EBDA_SEGMENT, call.bx)
        call.set_carry(False)


def _is_extended(region: MemoryRegion) -> bool:
    return region.type is RegionType.AVAILABLE and region.base == MIB


def _base(descriptor: tuple[int, ...]) -> Gpa:
    _, low, middle, _, _, high = descriptor
    return Gpa(low | middle << 16 | high << 24)
