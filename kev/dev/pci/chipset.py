"""What firmware looks for on bus 0: the functions of an 82371SB and an 82441FX that stand for what is not behind PCI here.

Intel 440FX PCIset datasheet; Intel 82371FB and 82371SB datasheet.
"""

from typing import Final

from kev.dev.pci.function import PciFunction, PciIdentity

HOST_BRIDGE: Final = 0
IDE: Final = 1
"""Numbers of devices."""
_INTEL: Final = 0x8086
_82441FX: Final = 0x1237
_82371SB_IDE: Final = 0x7010
_HOST_BRIDGE_CLASS: Final = 0x06_0000
_IDE_CLASS: Final = 0x01_0100
"""Both channels have the ports that they have without PCI, and there is no bus master."""
_MEMORY_ATTRIBUTES: Final = {0x58: 0xFFFF_FF00, 0x5C: 0xFFFF_FFFF}
"""PAM0 to PAM6: what lies between 640 KiB and 1 MiB is memory here, whatever they say."""


def host_bridge() -> PciFunction:
    identity = PciIdentity(_INTEL, _82441FX, _HOST_BRIDGE_CLASS, revision=2)
    return PciFunction("host bridge at PCI 00:00.0", identity, kept=_MEMORY_ATTRIBUTES)


def ide() -> PciFunction:
    """It says that there are IDE channels, which are `kev.dev.storage.ide`."""
    return PciFunction("IDE controller at PCI 00:01.0", PciIdentity(_INTEL, _82371SB_IDE, _IDE_CLASS))
