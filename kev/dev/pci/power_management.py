"""The power management function of a PIIX4 (Intel 82371AB datasheet, chapter 7), in which firmware looks for ACPI's registers."""

from typing import Final

from kev.dev.pci.function import PciFunction, PciIdentity

_INTEL: Final = 0x8086
_82371AB: Final = 0x7113
_OTHER_BRIDGE: Final = 0x06_8000
_INTERRUPT: Final = 0x3C
_SCI: Final = 9 | 1 << 8
"""INTA#, at IRQ 9."""
_BASE: Final = 0x40
_IS_PORTS: Final = 1
_DEVICE_ACTIVITY: Final = 0x58
_SMI_BY_APMC: Final = 1 << 25
_ENABLES: Final = 0x80
_RESPONDS: Final = 1


def power_management(name: str, ports: int) -> PciFunction:
    """ACPI's registers are at `ports` already, and stay there.

    SMI by software is said to be set up, too: there is no system management mode, for which SeaBIOS would wait.
    """
    function = PciFunction(name, PciIdentity(_INTEL, _82371AB, _OTHER_BRIDGE, revision=3))
    for register, value in (
        (_INTERRUPT, _SCI),
        (_BASE, ports | _IS_PORTS),
        (_DEVICE_ACTIVITY, _SMI_BY_APMC),
        (_ENABLES, _RESPONDS),
    ):
        function.fix_register(register, value)
    return function
