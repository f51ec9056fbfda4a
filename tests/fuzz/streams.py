"""Guests of random instructions, in 16, 32 and 64 bits: each is made from a number, and always the same of the same number."""

import random
import struct
from collections.abc import Sequence
from functools import cache
from typing import Final

from tests.cli.programs import kernel
from tests.machine.code import code

MODES: Final = (16, 32, 64)
LENGTH: Final = 200
"""Instructions of a stream."""

_BASE: Final = 0x20_0000
_SIZE: Final = 0x10_000
_PROLOGUE, _STREAM, _STACK, _USER_STACK = 0, 0x2000, 0x7000, 0x8000
_GDT, _IDT, _TSS, _TABLES = 0x8000, 0x9000, 0xA000, 0xB000
_HANDLER, _HANDLER_OF_ERRORS = 0x1000, 0x1040
_ERRORS: Final = frozenset({8, 10, 11, 12, 13, 14, 17})
_TABLE_REGISTERS: Final = 0x1100

_DESCRIPTORS: Final = (
    0,
    0x00CF_9B00_0000_FFFF,  # 0x08 code of 32 bits
    0x00CF_9300_0000_FFFF,  # 0x10 data
    0x00AF_9B00_0000_FFFF,  # 0x18 code of 64 bits
    0x00CF_FB00_0000_FFFF,  # 0x20 the same for CPL 3
    0x00CF_F300_0000_FFFF,
    0x00AF_FB00_0000_FFFF,
    0x000F_9B00_0000_FFFF,  # 0x38 code of 16 bits
    (_BASE + _TSS & 0xFF_FFFF) << 16 | 0x0000_8900_0000_0067,  # 0x40 a task
    0,
    _BASE + _TSS << 16 & 0xFF_FFFF_0000 | 0x0000_8500_0000_0067,  # 0x50 a task gate
    0x0000_EC00_0018_2000 | (_BASE >> 16) << 48,  # 0x58 a call gate
    0x0000_8200_0000_0FFF | (_BASE + _GDT & 0xFF_FFFF) << 16,  # 0x60 an LDT
)


def _codes(text: str) -> tuple[bytes, ...]:
    return tuple(map(bytes.fromhex, text.split()))


_PLAIN: Final = _codes("""
    90 f4 fa fb fc fd 9c 9d 60 61 06 07 0e 16 17 1e 1f 0fa0 0fa1 0fa8 0fa9 c3 cb cf c9 cc ce f1 98 99 9b 9e 9f d6 d7
    37 3f 27 2f a4 a5 aa ab ac ad ae af a6 a7 6c 6d 6e 6f ec ed ee ef f3a4 f3a5 f3ab f2ae f36c f36f 0f05 0f07 0f34
    0f35 0f06 0f08 0f09 0f0b 0f30 0f31 0f32 0f33 0f77 0fa2 0faa 0f01c1 0f01d9 0f01c8 0f01c9 0f01ca 0f01cb 0f01d0
    0f01d1 0f01d8 0f01da 0f01db 0f01dc 0f01dd 0f01de 0f01df 0f01f8 0f01f9 0f01fa f390 f30fc7f0 0fc7f0 0fc7f8 d9d0 dbe3
    d9e5 0faef0 660f01c1 48cf 480f35 480f07 48cb
""")
_WITH_OPERAND: Final = _codes("""
    00 01 02 03 08 11 1b 21 2b 31 33 39 62 63 69 6b 80 81 83 84 85 86 87 88 89 8a 8b 8c 8d 8e 8f c0 c1 c4 c5 c6 c7 d0
    d1 d3 d8 d9 da db dc dd de df f6 f7 fe ff 0f00 0f01 0f02 0f03 0f0d 0f10 0f11 0f16 0f1f 0f20 0f21 0f22 0f23 0f28
    0f29 0f2a 0f40 0f58 0f6e 0f6f 0f7f 0f90 0fa3 0fa4 0fa5 0fab 0fac 0fae 0faf 0fb0 0fb1 0fb2 0fb3 0fb4 0fb5 0fb6 0fba
    0fbb 0fbc 0fbd 0fc0 0fc1 0fc7 0fe7 0ff7 0f3800 0f3810 0f38f0 0f38f1 0f3a0f 0fb2 0f01 0f00 0f22 0f20 0fae 0fc7 ff
""")
_PREFIXES: Final = _codes("66 67 f0 f2 f3 2e 36 3e 26 64 65 48 4c 41 4f 45 40")
_NUMBERS: Final = (
    0, 1, 2, 3, 7, 8, 0x10, 0x18, 0x20, 0x2B, 0x33, 0x40, 0x50, 0x5B, 0x60, 0x80, 0xFF, 0xFFF, 0x1000, 0x7FFF, 0x8000,
    0xFFFF, _BASE, _BASE + _STREAM, _BASE + _GDT, _BASE + _IDT, _BASE + _TSS, _BASE + _TABLES, _BASE + _STACK, 0xA0000,
    0xB8000, 0xFFFFF, 0x0FFF_FFFC, 0x1000_0000, 0xC000_0000, 0xD000_0000, 0xFEC0_0000, 0xFED0_0000, 0xFEE0_0000,
    0xFEE0_0300, 0xFEE0_00B0, 0xFFFF_F000, 0x7FFF_FFFF, 0x8000_0000, 0x8000_0001, 0x8000_003B, 0xFFFF_FFFF, 0xC000_0080,
    0xC000_0081, 0xC000_0082, 0xC000_0084, 0x1B, 0x174, 0x175, 0x176, 0x277, 0x6E0, 0x800, 0x4000_0000, 0x4B56_4D00,
    0x20, 0x21, 0x40, 0x43, 0x60, 0x64, 0x70, 0x80, 0xA0, 0xCF8, 0xCFC, 0x1F0, 0x1F7, 0x3F8, 0x3D4, 0x510, 0x604, 0xB2,
    0x92, 0xC0FE,
)  # fmt: skip


def image(bits: int, number: int) -> bytes:
    """A boot sector, or an ELF file whose prologue enters the mode, with tables of its own."""
    chance = random.Random(f"{bits} {number}")
    if bits == 16:
        return _boot_sector(chance)
    body = bytearray(_SIZE)
    prologue, stream = _prologue(bits, chance), instructions(chance, bits, LENGTH)[: _HANDLER * 3]
    for at, data in (
        (_PROLOGUE, prologue),
        (_STREAM, stream + code("f4 eb fd")),
        (_HANDLER, code("48 83 04 24 01 48 cf" if bits == 64 else "83 04 24 01 cf")),
        (_HANDLER_OF_ERRORS, code("48 83 c4 08 48 83 04 24 02 48 cf" if bits == 64 else "83 c4 04 83 04 24 02 cf")),
        (_GDT, struct.pack(f"<{len(_DESCRIPTORS)}Q", *_DESCRIPTORS)),
        (_IDT, _gates(bits, 256 if chance.random() < 0.8 else 20)),
        (_TSS, _task_state(bits)),
        (_TABLES, _page_tables(bits)),
        (_TABLE_REGISTERS, struct.pack("<HIxxHI", len(_DESCRIPTORS) * 8 - 1, _BASE + _GDT, 0xFFF, _BASE + _IDT)),
    ):
        body[at : at + len(data)] = data
    if chance.random() < 0.2:  # tables that lead somewhere
        for _ in range(chance.randrange(1, 12)):
            place = chance.choice((_GDT, _IDT, _TSS, _TABLES, _TABLES + 0x1000)) + chance.randrange(0, 0x100)
            body[place : place + 4] = struct.pack("<I", _number(chance) & 0xFFFF_FFFF)
    return kernel(bytes(body), memory=_SIZE)


def instructions(chance: random.Random, bits: int, count: int) -> bytes:
    """So many, most of which there are."""
    return b"".join(_instruction(chance, bits) for _ in range(count))


def _instruction(chance: random.Random, bits: int) -> bytes:
    prefixes = b"".join(chance.choices(_PREFIXES, k=chance.choice((0, 0, 0, 0, 1, 1, 2, 3))))
    kind = chance.random()
    if kind < 0.20:
        return _load(chance, bits)
    if kind < 0.40:
        return prefixes + chance.choice(_PLAIN)
    if kind < 0.75:
        opcode = chance.choice(_WITH_OPERAND)
        return prefixes + opcode + _operand(chance) + (_little(chance, chance.choice((1, 4))) if chance.random() < 0.3 else b"")
    if kind < 0.80:
        return code("cd") + bytes([chance.choice((0, 1, 3, 6, 8, 10, 13, 14, 0x10, 0x13, 0x15, 0x20, 0x80, 0xFF))])
    if kind < 0.84:
        return bytes(
            [chance.choice((0xE4, 0xE5, 0xE6, 0xE7)), chance.choice((0x20, 0x21, 0x40, 0x43, 0x60, 0x64, 0x70, 0x71, 0xB2, 0x92))]
        )
    if kind < 0.88:
        return bytes([chance.choice((0x70, 0x74, 0x75, 0x7C, 0xEB, 0xE2, 0xE3)), chance.choice((0, 1, 2, 5, 0xF0, 0xFE))])
    if kind < 0.91:
        return (
            prefixes
            + bytes([chance.choice((0x9A, 0xEA, 0xE8, 0x68, 0x6A, 0xC2, 0xCA, 0xA0, 0xA1, 0xA2, 0xA3))])
            + _little(chance, 6)
        )
    return chance.randbytes(chance.randrange(1, 8))


def _load(chance: random.Random, bits: int) -> bytes:
    register = chance.choice((0, 0, 1, 2, 3, 4, 5, 6, 7))
    value = _number(chance)
    if bits == 16:
        return bytes([0xB8 + register]) + struct.pack("<H", value & 0xFFFF)
    if bits == 64 and chance.random() < 0.3:
        return bytes([0x48, 0xB8 + register]) + struct.pack("<Q", chance.choice((value, value << 32, value | 0xFFFF_8000 << 32)))
    return bytes([0xB8 + register]) + struct.pack("<I", value & 0xFFFF_FFFF)


def _operand(chance: random.Random) -> bytes:
    """A ModRM byte, with what may belong to it."""
    modrm = chance.randrange(256)
    sib = bytes([chance.randrange(256)]) if modrm & 7 == 4 and modrm < 0xC0 else b""
    displacement = _little(chance, (4 if modrm & 7 == 5 else 0, 1, 4, 0)[modrm >> 6])
    return bytes([modrm]) + sib + displacement


def _number(chance: random.Random) -> int:
    return (
        chance.choice(_NUMBERS) + chance.choice((0, 0, 0, -1, 1, 4, 8)) & 0xFFFF_FFFF
        if chance.random() < 0.85
        else chance.getrandbits(32)
    )


def _little(chance: random.Random, size: int) -> bytes:
    return (_number(chance) | chance.choice(_NUMBERS) << 32).to_bytes(8, "little")[:size]


def _boot_sector(chance: random.Random) -> bytes:
    """Its handlers of exceptions go on a byte behind what has raised them."""
    prologue = code("""
        31 c0 8e d8 8e c0 8e d0         ; xor ax, ax; mov ds, es, ss
        bc 00 7c 31 ff b9 10 00         ; mov sp, 0x7c00; xor di, di; mov cx, 16
        c7 05 24 7c c7 45 02 00 00      ; mov word [di], 0x7c24; mov word [di+2], 0
        83 c7 04 e2 f2                  ; add di, 4; loop
        eb 0c 90 90 90 90               ; jmp 0x7c32
        55 89 e5 ff 46 02 5d cf         ; push bp; mov bp, sp; inc word [bp+2]; pop bp; iret
        90 90 90 90 90 90
    """)
    stream = prologue + instructions(chance, 16, LENGTH)
    return (stream[:500] + code("f4 eb fd")).ljust(510, b"\xf4") + b"\x55\xaa"


def _prologue(bits: int, chance: random.Random) -> bytes:
    parts = [
        code("0f 01 15") + _word(_TABLE_REGISTERS),  # lgdt
        code("0f 01 1d") + _word(_TABLE_REGISTERS + 8),  # lidt
        code("66 b8 10 00 8e d8 8e c0 8e d0 8e e0 8e e8"),  # mov ax, 0x10; mov ds, es, ss, fs, gs
        code("bc") + _word(_STACK),
    ]
    if bits == 64 or chance.random() < 0.6:
        parts.append(code("b8") + struct.pack("<I", 0x6B0 if bits == 64 else chance.choice((0x10, 0x610))) + code("0f 22 e0"))
        parts.append(code("b8") + _word(_TABLES) + code("0f 22 d8"))
        if bits == 64:
            parts.append(code("b9 80 00 00 c0 b8 01 09 00 00 31 d2 0f 30"))  # wrmsr EFER, SCE | LME | NXE
        parts.append(code("b8 33 00 01 80 0f 22 c0"))  # mov cr0, PG | WP | NE | ET | MP | PE
    parts.append(code("66 b8 40 00 0f 00 d8"))  # ltr
    cs, user = (0x18, 0x33) if bits == 64 else (0x08, 0x23)
    if chance.random() < 0.75:
        parts.append(code("ea") + _word(_STREAM) + struct.pack("<H", cs))
    else:
        frame = (0x2B, _BASE + _USER_STACK, chance.choice((2, 0x202, 0x3002, 0x23002)), user, _BASE + _STREAM)
        parts += [code("68") + struct.pack("<I", value) for value in frame]
        parts.append(code("cf"))
    return b"".join(parts)


def _word(offset: int) -> bytes:
    return struct.pack("<I", _BASE + offset)


@cache
def _gates(bits: int, count: int) -> bytes:
    return b"".join(_gate(bits, vector) for vector in range(count))


def _gate(bits: int, vector: int) -> bytes:
    target = _BASE + (_HANDLER_OF_ERRORS if vector in _ERRORS else _HANDLER)
    selector = 0x18 if bits == 64 else 0x08
    low = struct.pack("<HHBBH", target & 0xFFFF, selector, 0, 0xEE, target >> 16)
    return low + bytes(8) if bits == 64 else low


def _task_state(bits: int) -> bytes:
    state = bytearray(0x68)
    if bits == 64:
        for at in (4, 0x24):
            struct.pack_into("<Q", state, at, _BASE + _STACK)
    else:
        struct.pack_into("<IH", state, 4, _BASE + _STACK, 0x10)
    return bytes(state)


@cache
def _page_tables(bits: int) -> bytes:
    """Everything one to one, for everybody: 4 MiB at a time, or the first four GiB by 2 MiB of which 1 GiB each repeats."""
    if bits == 32:
        return struct.pack("<1024I", *(page << 22 | 0x87 for page in range(1024)))
    first = _quads([_BASE + _TABLES + 0x1007])
    second = _quads([_BASE + _TABLES + 0x2007] * 3 + [_BASE + _TABLES + 0x3007])
    low, high = (_quads([start + (page << 21) | 0x87 for page in range(512)]) for start in (0, 0xC000_0000))
    return first + second + low + high


def _quads(entries: Sequence[int]) -> bytes:
    return struct.pack(f"<{len(entries)}Q", *entries).ljust(0x1000, b"\0")
