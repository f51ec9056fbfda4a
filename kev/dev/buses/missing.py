"""Devices that PCs have and these machines have not, by the ports at which guests look for them (IBM PC/AT technical reference)."""

from collections.abc import Collection
from typing import Final

_MISSING: Final = {
    "diskette controller": (range(0x3F0, 0x3F6), range(0x3F7, 0x3F8)),
    "DMA controller": (range(0x10), range(0x81, 0x84), range(0x87, 0x88), range(0x89, 0x8C), range(0xC0, 0xE0)),
    "NE2000 network adapter": (range(0x300, 0x320),),
    "Sound Blaster": (range(0x220, 0x230),),
    "FM synthesizer": (range(0x388, 0x38C),),
}


def missing_devices(ports: Collection[int]) -> list[str]:
    """Those that accesses to `ports` were meant for, each with the ports that were accessed."""
    found = []
    for name, ranges in _MISSING.items():
        accessed = [port for port in sorted(ports) if any(port in wanted for wanted in ranges)]
        if accessed:
            found.append(f"{name} (from port {accessed[0]:#x} on)" if len(accessed) > 1 else f"{name} (port {accessed[0]:#x})")
    return found
