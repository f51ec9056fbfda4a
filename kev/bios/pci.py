"""INT 1Ah, AH = B1h: the PCI bus (PCI BIOS Specification 2.1)."""

from collections.abc import Callable, Iterator
from typing import Final

from kev.bios.call import BiosCall
from kev.dev.buses.ports import PortBus
from kev.dev.pci.bus import CONFIG_ADDRESS, CONFIG_DATA, ENABLED

_FUNCTIONS: Final = range(256)
"""Of a bus: eight of each device."""
_IDENTITY: Final = 0x00
_CLASS: Final = 0x08
_HEADER_TYPE: Final = 0x0E
_HAS_FUNCTIONS: Final = 1 << 7
_NOTHING: Final = 0xFFFF_FFFF
_REGISTERS: Final = 0x100

_SIGNATURE: Final = 0x2049_4350
""""PCI "."""
_MECHANISM_1: Final = 1
_VERSION: Final = 0x0210

_OK: Final = 0x00
_UNSUPPORTED: Final = 0x81
_NOT_FOUND: Final = 0x86
_BAD_REGISTER: Final = 0x87


class PciServices:
    """Bus 0 is the only one. There are no services to enter in protected mode."""

    def __init__(self, ports: PortBus) -> None:
        self._ports: Final = ports
        self._functions: Final[dict[int, Callable[[BiosCall], int]]] = {
            0x01: self._describe,
            0x02: self._find_device,
            0x03: self._find_class,
            0x08: lambda call: self._load(call, 1),
            0x09: lambda call: self._load(call, 2),
            0x0A: lambda call: self._load(call, 4),
            0x0B: lambda call: self._store(call, 1),
            0x0C: lambda call: self._store(call, 2),
            0x0D: lambda call: self._store(call, 4),
        }
        """By AL; the result is AH."""

    def serve(self, call: BiosCall) -> None:
        function = self._functions.get(call.al & 0x7F) if any(True for _ in self._present()) else None
        call.ah = _UNSUPPORTED if function is None else function(call)
        call.set_carry(call.ah != _OK)

    def _describe(self, call: BiosCall) -> int:
        call.vcpu.rdx, call.vcpu.rdi = _SIGNATURE, 0
        call.al, call.bx, call.cl = _MECHANISM_1, _VERSION, 0
        return _OK

    def _find_device(self, call: BiosCall) -> int:
        return self._find(call, _IDENTITY, call.cx << 16 | call.dx, 0)

    def _find_class(self, call: BiosCall) -> int:
        return self._find(call, _CLASS, call.vcpu.rcx & 0xFF_FFFF, 8)

    def _find(self, call: BiosCall, register: int, wanted: int, shift: int) -> int:
        """Number SI of those functions in whose register, but for its lowest bits, `wanted` is."""
        found = [number for number in self._present() if self._read(number << 8 | register, 4) >> shift == wanted]
        if call.si >= len(found):
            return _NOT_FOUND
        call.bx = found[call.si]
        return _OK

    def _load(self, call: BiosCall, size: int) -> int:
        place = _place(call, size)
        if place is None:
            return _BAD_REGISTER
        value = self._read(place, size)
        call.vcpu.rcx = call.vcpu.rcx & ~((1 << 8 * size) - 1) | value
        return _OK

    def _store(self, call: BiosCall, size: int) -> int:
        place = _place(call, size)
        if place is None:
            return _BAD_REGISTER
        self._select(place)
        self._ports.write(CONFIG_DATA + (place & 3), size, call.vcpu.rcx & (1 << 8 * size) - 1)
        return _OK

    def _present(self) -> Iterator[int]:
        """Device and function of each, as BL has them."""
        has_functions = False
        for number in _FUNCTIONS:
            if number & 7 and not has_functions:
                continue
            is_there = self._read(number << 8 | _IDENTITY, 4) != _NOTHING
            if not number & 7:
                has_functions = is_there and bool(self._read(number << 8 | _HEADER_TYPE, 1) & _HAS_FUNCTIONS)
            if is_there:
                yield number

    def _read(self, place: int, size: int) -> int:
        self._select(place)
        return self._ports.read(CONFIG_DATA + (place & 3), size)

    def _select(self, place: int) -> None:
        self._ports.write(CONFIG_ADDRESS, 4, ENABLED | place & ~3)


def _place(call: BiosCall, size: int) -> int | None:
    """Bus, device, function and register as in the address register; None if a register of so many bytes cannot be there."""
    is_aligned = call.di < _REGISTERS and call.di % size == 0
    return call.bx << 8 | call.di if is_aligned else None
