"""A PCI bus without devices, behind configuration mechanism #1 (PCI Local Bus Specification 3.0, section 3.2.2.3.2)."""

from typing import Final

_CONFIG_ADDRESS: Final = 0xCF8
_CONFIG_DATA: Final = 0xCFC
_ADDRESS_BITS: Final = 0x80FF_FFFC
"""The enable bit, bus, device, function and register; the others read as 0."""

_ALL_ONES: Final = {1: 0xFF, 2: 0xFFFF, 4: 0xFFFF_FFFF}


class EmptyPciBus:
    """Answers a guest's scan: whatever it selects, no device is there, which reads as all ones."""

    ports: Final = (range(_CONFIG_ADDRESS, _CONFIG_ADDRESS + 4), range(_CONFIG_DATA, _CONFIG_DATA + 4))
    wide_ports: Final = ports

    __slots__ = ("_address",)

    def __init__(self) -> None:
        self._address = 0

    def read_port(self, port: int, size: int) -> int:
        # Only a dword at 0xcf8 reaches the address register; anything smaller is an access to a port that is not there.
        if port == _CONFIG_ADDRESS and size == 4:
            return self._address
        return _ALL_ONES[size]

    def write_port(self, port: int, size: int, value: int) -> None:
        if port == _CONFIG_ADDRESS and size == 4:
            self._address = value & _ADDRESS_BITS
