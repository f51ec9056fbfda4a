"""The host bridge of bus 0: an 82441FX, as far as firmware looks into one (Intel 440FX PCIset datasheet)."""

from typing import Final

from kev.dev.pci.function import PciFunction, PciIdentity, WritableRegister

_INTEL: Final = 0x8086
_82441FX: Final = 0x1237
_HOST_BRIDGE: Final = 0x06_0000
_MEMORY_ATTRIBUTES: Final = {0x58: 0xFFFF_FF00, 0x5C: 0xFFFF_FFFF}
"""PAM0 to PAM6, in registers of 32 bits."""


def host_bridge() -> PciFunction:
    """What lies between 640 KiB and 1 MiB is memory, whatever its memory attribute registers are told."""
    bridge = PciFunction("host bridge at PCI 00:00.0", PciIdentity(_INTEL, _82441FX, _HOST_BRIDGE, revision=2))
    for offset, mask in _MEMORY_ATTRIBUTES.items():
        bridge.add_register(WritableRegister(offset, mask, _nothing_more))
    return bridge


def _nothing_more(_value: int) -> None:
    """They keep what is written."""
