"""KeV's memory-mapped printer: prints a buffer in guest memory when its doorbell rings."""

from collections.abc import Callable
from typing import Final

from kev.addressing import MIB, PAGE_SIZE, Gpa
from kev.dev.base import DeviceError, GuestMemory, PlainDevice
from kev.state import Fields, octets

PRINTER_GPA: Final = Gpa(0xCAFE_0000)

_BUFFER: Final = slice(0, 8)
_LENGTH: Final = slice(8, 16)
_DOORBELL: Final = 16
_LONGEST: Final = 1 * MIB


class Printer(PlainDevice):
    """u64 address of the buffer, u64 length in bytes, and a doorbell at 0x10: any write to it prints."""

    name: Final = "printer"
    gpa: Final = PRINTER_GPA
    length: Final = PAGE_SIZE

    FIELDS = Fields({"_registers": octets(_DOORBELL)})

    __slots__ = ("_memory", "_print", "_registers")

    def __init__(self, memory: GuestMemory, print_bytes: Callable[[bytes], None]) -> None:
        self._memory = memory
        self._print = print_bytes
        self.reset()

    def reset(self) -> None:
        self._registers = bytearray(_DOORBELL)

    def read_mmio(self, vcpu: int, offset: int, size: int) -> int:
        return int.from_bytes(self._registers[offset : offset + size], "little")

    def write_mmio(self, vcpu: int, offset: int, size: int, value: int) -> None:
        if offset >= _DOORBELL:
            self._ring()
            return
        end = min(offset + size, _DOORBELL)
        self._registers[offset:end] = value.to_bytes(size, "little")[: end - offset]

    def _ring(self) -> None:
        address = int.from_bytes(self._registers[_BUFFER], "little")
        length = int.from_bytes(self._registers[_LENGTH], "little")
        if length > _LONGEST:
            raise DeviceError(f"printer: the guest prints {length} bytes at {address:#x}; the limit is {_LONGEST}")
        self._print(self._memory.read(Gpa(address), length))
