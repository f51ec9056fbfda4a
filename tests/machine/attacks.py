"""Guests that attack, in 32-bit code: each loads what it needs, and goes on for as long as it is let."""

import struct
from collections.abc import Iterable
from typing import Final

from tests.machine.code import HLT, SPIN, VMCALL, code

BASE: Final = 0x20_0000
STACK: Final = BASE + 0x8000
DATA: Final = BASE + 0x4000
"""Where a guest may put its tables: its code is in front of them."""
RAM: Final = 0x1000_0000
LOCAL_APIC, IO_APIC, VGA, HOLE = 0xFEE0_0000, 0xFEC0_0000, 0xB8000, 0xD000_0000
PLACES: Final = {"nowhere": 0x2000_0000, "the end": RAM - 4, "local APIC": LOCAL_APIC, "VGA": VGA, "hole": HOLE, "top": 0xFFFF_F000}
_AX, _CX, _DX, _BX, _SP, _SI, _DI = 0, 1, 2, 3, 4, 6, 7


def _mov(register: int, value: int) -> bytes:
    return struct.pack("<BI", 0xB8 + register, value & 0xFFFF_FFFF)


def _store(address: int, value: int) -> bytes:
    return code("c7 05") + struct.pack("<II", address & 0xFFFF_FFFF, value & 0xFFFF_FFFF)


def _out(port: int, value: int, size: int = 1) -> bytes:
    return _mov(_DX, port) + _mov(_AX, value) + code({1: "ee", 2: "66 ef", 4: "ef"}[size])


def _again(text: bytes) -> bytes:
    """For ever."""
    return text + b"\xe9" + struct.pack("<i", -len(text) - 5)


def _table(which: str, base: int, limit: int = 0xFFFF) -> bytes:
    """LGDT or LIDT."""
    modrm = {"gdt": 0x15, "idt": 0x1D}[which]
    return _store(DATA, limit | base << 16) + _store(DATA + 4, base >> 16) + code("0f 01") + struct.pack("<BI", modrm, DATA)


def _paging(directory: int, cr4: int = 0x10) -> bytes:
    """CR3, CR4, then CR0.PG."""
    return _mov(_AX, cr4) + code("0f 22 e0") + _mov(_AX, directory) + code("0f 22 d8") + _mov(_AX, 0x8001_0033) + code("0f 22 c0")


def _entries(address: int, values: Iterable[int]) -> bytes:
    return b"".join(_store(address + 4 * index, value) for index, value in enumerate(values))


def _ipi(command: int, target: int = 0) -> bytes:
    return _store(LOCAL_APIC + 0xF0, 0x1FF) + _store(LOCAL_APIC + 0x310, target << 24) + _store(LOCAL_APIC + 0x300, command)


def _msrs(first: int, value: int, opcode: str) -> bytes:
    """WRMSR or RDMSR of 2,048 of them; #GP is where a guest without handlers ends."""
    return (
        _mov(_CX, first)
        + _mov(_AX, value)
        + _mov(_DX, value)
        + code(opcode + " 41 81 f9")
        + struct.pack("<I", first + 2048)
        + code("75 f3")
    )


def _handler(vectors: int, target: int) -> bytes:
    """An IDT of interrupt gates that all lead to `target`, at DATA + 0x800."""
    low, high = target & 0xFFFF | 0x08 << 16, target & 0xFFFF_0000 | 0x8E00
    fill = _mov(_DI, DATA + 0x800) + _mov(_CX, vectors)
    fill += code("c7 07") + struct.pack("<I", low) + code("c7 47 04") + struct.pack("<I", high) + code("83 c7 08 e2 ee")
    return fill + _table("idt", DATA + 0x800, 8 * vectors - 1)


_ATTACKS: Final[dict[str, bytes]] = {
    **{
        f"GDT at {name}": _table("gdt", place) + code("66 b8 10 00 8e d8 8e d0 ea 00 00 20 00 08 00")
        for name, place in PLACES.items()
    },
    **{f"IDT at {name}": _again(_table("idt", place) + code("cd 20 0f 0b")) for name, place in PLACES.items()},
    **{f"page directory at {name}": _paging(place) for name, place in PLACES.items()},
    **{
        f"page table at {name}": _entries(DATA, [0x87, PLACES[name] | 0x67]) + _paging(DATA) + code("a1 00 00 40 00") + SPIN
        for name in ("local APIC", "VGA", "hole")
    },
    **{
        f"PAE page directory at {name}": b"".join(_entries(DATA + 8 * index, [PLACES[name] | 1, 0]) for index in range(4))
        + _paging(DATA, 0x30)
        for name in ("local APIC", "VGA", "hole")
    },
    **{f"stack at {name}": _handler(32, BASE) + _mov(_SP, place) + code("cd 03 0f 0b") for name, place in PLACES.items()},
    **{f"jump to {name}": _mov(_AX, place) + code("ff e0") for name, place in PLACES.items()},
    **{
        f"data at {name}": _again(_mov(_AX, place) + code("8b 08 f0 01 08 0f c7 08 dd 00 0f 11 00 f0 0f c7 08"))
        for name, place in PLACES.items()
    },
    **{
        f"code copied to {name}": _mov(_SI, BASE)
        + _mov(_DI, place)
        + _mov(_CX, 64)
        + code("f3 a4")
        + _mov(_AX, place)
        + code("ff e0")
        for name, place in PLACES.items()
    },
    "tables that lead into themselves": _entries(DATA, [DATA | 0x67] * 1)
    + _entries(DATA + 4 * 0x200, [DATA | 0x67])
    + _paging(DATA),
    "reserved bits in tables": _entries(DATA, [0x003F_E0E7, 0xFFFF_FFFF]) + _paging(DATA) + code("a1 00 00 40 00"),
    "large pages behind the end of RAM": _entries(DATA, [0x87] + [RAM + (page << 22) | 0x87 for page in range(1, 40)])
    + _paging(DATA)
    + _again(code("ff 05 00 00 40 00 ff 05 00 00 80 01")),
    "the hypervisor's CR bits": _mov(_AX, 0xFFFF_FFFF) + code("0f 22 e0"),
    "reserved bits of CR0": _mov(_AX, 0xFFFF_FFFF) + code("0f 22 c0"),
    "paging without protection": _mov(_AX, 0x8000_0000) + code("0f 22 c0"),
    "EFER": _mov(_CX, 0xC000_0080) + _mov(_AX, 0xFFFF_FFFF) + _mov(_DX, 0xFFFF_FFFF) + code("0f 30"),
    "SVM": _mov(_AX, BASE) + code("0f 01 d8"),
    "VMX": _store(DATA, 0) + code("f3 0f c7 35") + struct.pack("<I", DATA),
    "all MSRs written": _handler(32, BASE) + _msrs(0, 0xFFFF_FFFF, "0f 30"),
    "all MSRs read": _msrs(0xC000_0000, 0, "0f 32"),
    "XSETBV": _mov(_CX, 0) + _mov(_AX, 0xFFFF_FFFF) + code("0f 01 d1"),
    "debug registers": _mov(_AX, 0xFFFF_FFFF) + code("0f 23 f8 0f 23 c0 0f 23 f0 cc"),
    "every port written": _mov(_DX, 0) + _mov(_AX, 0xFFFF_FFFF) + _again(code("ee ef 66 ef 42 81 e2 ff ff 00 00")),
    "every port read": _mov(_DX, 0) + _again(code("ec ed 66 ed 42 81 e2 ff ff 00 00")),
    "a flood of strings to ports": _again(_mov(_SI, 0) + _mov(_CX, 0xFFFF_FFFF) + _mov(_DX, 0x80) + code("f3 6f")),
    "a flood of strings from ports": _again(_mov(_DI, DATA) + _mov(_CX, 0xFFFF_FFFF) + _mov(_DX, 0x1F0) + code("f3 6d")),
    "a flood to COM1": _again(_out(0x3F8, 0x41)),
    "a flood to the screen": _again(_store(VGA, 0x41414141)),
    "a flood to the local APIC": _again(_store(LOCAL_APIC + 0xB0, 0) + _store(LOCAL_APIC + 0x380, 1)),
    "a flood to the I/O APIC": _again(_store(IO_APIC, 0x10) + _store(IO_APIC + 0x10, 0xFFFF_FFFF)),
    "strings over devices": _again(_mov(_SI, LOCAL_APIC) + _mov(_DI, IO_APIC) + _mov(_CX, 0x10000) + code("f3 a5")),
    "all of RAM": _mov(_DI, 0x30_0000) + _mov(_CX, 0xFFFF_FFFF) + code("f3 ab"),
    "itself overwritten": _mov(_DI, 0) + _mov(_CX, 0xFFFF_FFFF) + code("f3 aa"),
    "code that changes itself": _again(code("ff 05 06 00 20 00 90 90 90 90 fe 05 0a 00 20 00")),
    "IPIs to itself": _handler(256, BASE) + code("fb") + _again(_ipi(0x4_0040) + _ipi(0x4_00FF)),
    "NMIs to itself": _handler(256, BASE) + _again(_ipi(0x4_0400)),
    "INIT to itself": _again(_ipi(0xC500)),
    "start-up of all": _again(_ipi(0xC_4500) + _ipi(0xC_46FF)),
    "IPIs of all kinds": _again(b"".join(_ipi(kind << 8 | mode << 18 | 0x31, 7) for kind in range(8) for mode in range(4))),
    "a timer without a pause": _handler(256, BASE + 0x100)
    + _store(LOCAL_APIC + 0xF0, 0x1FF)
    + _store(LOCAL_APIC + 0x320, 0x2_0040)
    + _store(LOCAL_APIC + 0x380, 1)
    + code("fb")
    + SPIN,
    "a PIT without a pause": _again(_out(0x43, 0x34) + _out(0x40, 1) + _out(0x40, 0)),
    "exceptions for ever": _handler(32, BASE) + code("0f 0b"),
    "page faults for ever": _handler(32, 0x8000_0000) + _entries(DATA, [0x87]) + _paging(DATA) + code("ff 25 00 00 00 80"),
    "double faults": _handler(8, 0xFFFF_FFFF) + code("0f 0b"),
    "a task gate to nowhere": _handler(32, BASE)
    + _store(DATA + 0x800 + 8 * 3 + 4, 0x8500)
    + _store(DATA + 0x800 + 8 * 3, 0xFFF8_0000)
    + code("cc"),
    "virtual-8086 mode without a task": _handler(32, BASE)
    + _entries(DATA + 0x10, [0xFFFF, 0x00CF_9B00, 0xFFFF, 0x00CF_9300])
    + _table("gdt", DATA + 8)
    + _store(0x500, 0x0B0F_0B0F)  # ud2
    + code("6a 00 6a 00 6a 00 6a 00 6a 00 68 00 10 00 00 68 02 02 02 00 6a 50 6a 00 cf"),
    "a null task": code("66 31 c0 0f 00 d8"),
    "a far call to data": code("9a 00 00 20 00 10 00"),
    "virtual-8086 mode": code("9c 58 0d 00 00 02 00 50 68 08 00 00 00 68 00 00 20 00 cf"),
    "IRET of nonsense": _mov(_SP, BASE) + code("cf"),
    "PCI registers everywhere": _again(
        b"".join(_out(0xCF8, 0x8000_0000 | slot << 11 | 0x10, 4) + _out(0xCFC, LOCAL_APIC, 4) for slot in range(6))
    ),
    "fw_cfg to nowhere": _again(_out(0x510, 0x19, 2) + _out(0x514, 0xFFFF_FFFF, 4) + _out(0x518, 0xF0FF_FFFF, 4)),
    "IDE without sense": _again(b"".join(_out(0x1F0 + register, 0xFF) for register in range(1, 8)) + _out(0x3F6, 4)),
    "CMOS": _again(_out(0x70, 0x0A) + _out(0x71, 0xFF) + _out(0x70, 0x0B) + _out(0x71, 0xFF)),
    "halted with interrupts on": code("fb") + _again(HLT),
    "PAUSE for ever": _again(code("f3 90")),
    "CPUID for ever": _again(code("0f a2 0f 31 0f c7 f0")),
    "REP with all prefixes": _again(code("66 67 f0 f2 f3 2e 36 3e 26 64 65 a5")),
    "an instruction of 16 bytes": code("66") * 15 + code("90"),
    "segments behind the end": _mov(_AX, 0xFFFF) + code("8e e0 64 a1 fc ff ff ff"),
}

HYPERCALLS: Final[dict[str, bytes]] = {
    f"hypercalls with {name}": b"".join(
        _mov(_AX, number) + b"".join(_mov(register, place) for register in (_BX, _CX, _DX, _SI, _DI)) + VMCALL
        for number in (*range(12), -1)
    )
    for name, place in {**PLACES, "zero": 0, "minus one": -1}.items()
}
ATTACKS: Final = {name: _mov(_SP, STACK) + text + SPIN for name, text in (_ATTACKS | HYPERCALLS).items()}
"""The code of each, at BASE."""
