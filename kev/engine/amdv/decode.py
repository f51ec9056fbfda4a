"""Decodes the operands of the few instructions that are emulated (AMD64 Architecture Programmer's Manual vol. 3, chapter 1)."""

from typing import Final

from kev.engine.amdv.vcpu import CS, DS, ES, FS, GS, SS, AmdvVcpu
from kev.named_tuple import NamedTuple

LONGEST_INSTRUCTION: Final = 15

_SEGMENT_PREFIXES: Final = {0x26: ES, 0x2E: CS, 0x36: SS, 0x3E: DS, 0x64: FS, 0x65: GS}
_OVERRIDES_64: Final = {0x64: FS, 0x65: GS}  # the others are ignored in 64-bit mode ("Segment-override prefixes")
_OPERAND_SIZE: Final = 0x66
_ADDRESS_SIZE: Final = 0x67
_LOCK: Final = 0xF0
_REPEAT: Final = frozenset({0xF2, 0xF3})
_PREFIXES: Final = frozenset({*_SEGMENT_PREFIXES, _OPERAND_SIZE, _ADDRESS_SIZE, _LOCK, *_REPEAT})
_REX: Final = 0x40  # to 0x4F, in 64-bit mode
_STRING_INSTRUCTIONS: Final = frozenset({*range(0x6C, 0x70), *range(0xA4, 0xA8), *range(0xAA, 0xB0)})
_OUTS: Final = 0x6E
_PORT_STRINGS: Final = range(0x6C, 0x70)
_INT1: Final = 0xF1
_TWO_BYTE: Final = 0x0F
_VEX: Final = 0xC4
_SHLX: Final = 0xF7
_GENERAL_PURPOSE: Final = frozenset({0xF0, 0xF1, 0xF6})
_CLTS: Final = 0x06
GROUP_5: Final = 0xFF  # near JMP and CALL through a register or memory among them
IRET: Final = 0xCF
_RET_RELEASING: Final = 0xC2
_NEAR_RETURNS: Final = frozenset({_RET_RELEASING, 0xC3})
_FAR_RETURNS: Final = frozenset({0xCA, 0xCB, IRET})
_MOV_CONTROL_REGISTER: Final = range(0x20, 0x24)  # and debug registers; the mod field does not count
_DEFAULT_SIZE_32: Final = 1 << 22  # the D flag in a code segment's second word
_REX_W, _REX_R, _REX_X, _REX_B = 8, 4, 2, 1

# 16-bit addressing: base and index registers by r/m (RBX 3, RSP 4, RBP 5, RSI 6, RDI 7).
_BASES_16: Final = ((3, 6), (3, 7), (5, 6), (5, 7), (6,), (7,), (5,), (3,))


class Operand(NamedTuple):
    """The r/m operand: a register, or memory at a linear address."""

    register: int | None
    linear: int = 0


class Instruction(NamedTuple):
    """A two-byte instruction (0F xx) with a ModRM byte."""

    length: int
    opcode: int
    """The second byte."""
    extension: int
    """The reg field, with REX.R."""
    operand: Operand
    operand_size: int
    """2, 4 or 8 bytes."""


class UndecodableInstruction(Exception):
    """Not a two-byte instruction with a ModRM byte, or not all of it can be read."""


class _Bytes:
    """The bytes of an instruction, one after the other."""

    __slots__ = ("_code", "position")

    def __init__(self, code: bytes) -> None:
        self._code = code
        self.position = 0

    def take(self, size: int = 1, *, signed: bool = False) -> int:
        part = self._code[self.position : self.position + size]
        if len(part) < size:
            raise UndecodableInstruction
        self.position += size
        return int.from_bytes(part, "little", signed=signed)


def decode(vcpu: AmdvVcpu, code: bytes) -> Instruction:
    """Decodes the instruction at RIP, whose bytes are `code`. UndecodableInstruction if it is of another kind."""
    in_64_bit_mode = vcpu.in_64_bit_mode
    default_32 = bool(vcpu.raw_segment(CS)[3] & _DEFAULT_SIZE_32)
    stream = _Bytes(code)
    prefixes, rex, byte = _prefixes_and_rex(stream, in_64_bit_mode=in_64_bit_mode)
    address_size = _size(8 if in_64_bit_mode else 4 if default_32 else 2, _ADDRESS_SIZE in prefixes)
    operand_size = _size(4 if in_64_bit_mode or default_32 else 2, _OPERAND_SIZE in prefixes)
    overrides = _OVERRIDES_64 if in_64_bit_mode else _SEGMENT_PREFIXES
    segment = next((overrides[prefix] for prefix in reversed(prefixes) if prefix in overrides), None)
    if byte != _TWO_BYTE:
        raise UndecodableInstruction
    opcode = stream.take()
    mod_rm = stream.take()
    if opcode in _MOV_CONTROL_REGISTER:
        mod_rm |= 0xC0
    operand = _operand(vcpu, stream, mod_rm, rex, address_size, segment)
    return Instruction(
        stream.position,
        opcode,
        mod_rm >> 3 & 7 | (8 if rex & _REX_R else 0),
        operand,
        8 if rex & _REX_W else operand_size,
    )


def indirect_branch(vcpu: AmdvVcpu, code: bytes) -> tuple[int, int, Operand]:
    """The length of a near JMP or CALL through a register or memory at RIP in 64-bit mode, its reg field (4 or 2), and its operand.

    UndecodableInstruction if `code` begins with another instruction.
    """
    stream = _Bytes(code)
    prefixes, rex, byte = _prefixes_and_rex(stream, in_64_bit_mode=True)
    mod_rm = stream.take()
    extension = mod_rm >> 3 & 7
    if byte != GROUP_5 or extension not in (2, 4) or _LOCK in prefixes:
        raise UndecodableInstruction
    segment = next((_OVERRIDES_64[prefix] for prefix in reversed(prefixes) if prefix in _OVERRIDES_64), None)
    operand = _operand(vcpu, stream, mod_rm, rex, _size(8, _ADDRESS_SIZE in prefixes), segment)
    return stream.position, extension, operand


def near_return(code: bytes) -> int:
    """How many bytes of the stack a near RET in 64-bit mode releases, beside the address.

    UndecodableInstruction if `code` begins with another instruction.
    """
    stream = _Bytes(code)
    prefixes, _, byte = _prefixes_and_rex(stream, in_64_bit_mode=True)
    if byte not in _NEAR_RETURNS or _LOCK in prefixes:
        raise UndecodableInstruction
    return stream.take(2) if byte == _RET_RELEASING else 0


def pushf(vcpu: AmdvVcpu, code: bytes) -> tuple[int, int]:
    """The length of PUSHF, which `code` is outside of 64-bit mode, and its operand size."""
    stream = _Bytes(code)
    prefixes, _ = _prefixes(stream)
    default_32 = bool(vcpu.raw_segment(CS)[3] & _DEFAULT_SIZE_32)
    return stream.position, _size(4 if default_32 else 2, _OPERAND_SIZE in prefixes)


def clts_length(code: bytes) -> int:
    """The length of CLTS with its prefixes. UndecodableInstruction if `code` begins with another instruction."""
    stream = _Bytes(code)
    _, _, byte = _prefixes_and_rex(stream, in_64_bit_mode=True)
    if (byte, stream.take()) != (_TWO_BYTE, _CLTS):
        raise UndecodableInstruction
    return stream.position


def int1_length(code: bytes) -> int:
    """The length of INT1 with its prefixes, if `code` begins with one. UndecodableInstruction if not."""
    stream = _Bytes(code)
    prefixes, byte = _prefixes(stream)
    if byte != _INT1 or _LOCK in prefixes:
        raise UndecodableInstruction
    return stream.position


def far_return(code: bytes, *, in_64_bit_mode: bool) -> int | None:
    """The opcode, if `code` begins with IRET or a far RET."""
    try:
        _, _, byte = _prefixes_and_rex(_Bytes(code), in_64_bit_mode=in_64_bit_mode)
    except UndecodableInstruction:
        return None
    return byte if byte in _FAR_RETURNS else None


def is_general_purpose(code: bytes, *, in_64_bit_mode: bool) -> bool:
    """Whether `code` begins with SHLX, ADCX, or CRC32 or MOVBE of 16 bits, whose prefix and opcode map are those of SSE, too."""
    stream = _Bytes(code)
    try:
        prefixes, _, byte = _prefixes_and_rex(stream, in_64_bit_mode=in_64_bit_mode)
        if byte == _VEX:
            opcode_map, simd_prefix, opcode = stream.take() & 0x1F, stream.take() & 3, stream.take()
            return not prefixes and (opcode_map, simd_prefix, opcode) == (2, 1, _SHLX)
        opcode_map, opcode = stream.take(), stream.take()
    except UndecodableInstruction:
        return False
    return (byte, opcode_map) == (_TWO_BYTE, 0x38) and _OPERAND_SIZE in prefixes and opcode in _GENERAL_PURPOSE


def prefixes_length(code: bytes, *, in_64_bit_mode: bool) -> int:
    """How many bytes of prefixes, REX among them, stand before an opcode in `code`; 0 if there is no opcode."""
    stream = _Bytes(code)
    try:
        _prefixes_and_rex(stream, in_64_bit_mode=in_64_bit_mode)
    except UndecodableInstruction:
        return 0
    return stream.position - 1


def has_prefix(code: bytes, prefixes: frozenset[int]) -> bool:
    """Whether one of `prefixes` is among those that `code` begins with."""
    try:
        return not prefixes.isdisjoint(_prefixes(_Bytes(code))[0])
    except UndecodableInstruction:
        return True


def is_repeated(code: bytes) -> bool:
    """Whether `code` begins with a string instruction that is executed RCX times."""
    try:
        prefixes, _, byte = _prefixes_and_rex(_Bytes(code), in_64_bit_mode=True)
    except UndecodableInstruction:
        return False
    return byte in _STRING_INSTRUCTIONS and bool(_REPEAT.intersection(prefixes))


class PortString(NamedTuple):
    """INS or OUTS with REP."""

    opcode: int
    """INS 0x6C, OUTS 0x6E."""
    operand_size: int
    address_size: int
    segment: int
    """That of the memory."""


def repeated_port_string(vcpu: AmdvVcpu, code: bytes) -> PortString | None:
    """None if `code` is another instruction, or one without REP."""
    in_64_bit_mode = vcpu.in_64_bit_mode
    try:
        prefixes, rex, byte = _prefixes_and_rex(_Bytes(code), in_64_bit_mode=in_64_bit_mode)
    except UndecodableInstruction:
        return None
    if byte not in _PORT_STRINGS or _LOCK in prefixes or _REPEAT.isdisjoint(prefixes):
        return None
    wide = in_64_bit_mode or bool(vcpu.raw_segment(CS)[3] & _DEFAULT_SIZE_32)
    operand_size = 4 if rex & _REX_W else _size(4 if wide else 2, _OPERAND_SIZE in prefixes)
    address_size = _size(8 if in_64_bit_mode else 4 if wide else 2, _ADDRESS_SIZE in prefixes)
    overrides = _OVERRIDES_64 if in_64_bit_mode else _SEGMENT_PREFIXES
    segment = ES if byte < _OUTS else next((overrides[prefix] for prefix in reversed(prefixes) if prefix in overrides), DS)
    return PortString(byte & ~1, operand_size if byte & 1 else 1, address_size, segment)


def _prefixes(stream: _Bytes) -> tuple[list[int], int]:
    """The legacy prefixes, and the byte that follows."""
    found: list[int] = []
    while (byte := stream.take()) in _PREFIXES:
        found.append(byte)
    return found, byte


def _prefixes_and_rex(stream: _Bytes, *, in_64_bit_mode: bool) -> tuple[list[int], int, int]:
    """The same, with the REX prefix between the two, or 0. One that stands before another prefix counts for nothing."""
    rex = 0
    prefixes, byte = _prefixes(stream)
    while in_64_bit_mode and byte & 0xF0 == _REX:
        rex = byte
        more, byte = _prefixes(stream)
        if more:
            rex = 0
            prefixes += more
    return prefixes, rex, byte


def _size(default: int, changed: bool) -> int:
    """An operand's or an address's size in bytes: a prefix makes the default another."""
    if not changed:
        return default
    return 2 if default == 4 else 4


def _operand(vcpu: AmdvVcpu, stream: _Bytes, mod_rm: int, rex: int, address_size: int, segment: int | None) -> Operand:
    mode, rm = mod_rm >> 6, mod_rm & 7
    if mode == 3:
        return Operand(rm | (8 if rex & _REX_B else 0))
    if address_size == 2:
        offset, uses_stack = _offset_16(vcpu, stream, mode, rm)
    else:
        offset, uses_stack = _offset_32_or_64(vcpu, stream, mode, rm, rex)
    offset &= (1 << 8 * address_size) - 1
    if segment is None:
        segment = SS if uses_stack else DS
    base = vcpu.raw_segment(segment)[1] if segment in (FS, GS) or not vcpu.in_64_bit_mode else 0
    mask = 0xFFFF_FFFF_FFFF_FFFF if vcpu.long_mode else 0xFFFF_FFFF
    return Operand(None, base + offset & mask)


def _offset_16(vcpu: AmdvVcpu, stream: _Bytes, mode: int, rm: int) -> tuple[int, bool]:
    if mode == 0 and rm == 6:
        return stream.take(2), False
    registers = _BASES_16[rm]
    displacement = stream.take(mode, signed=True) if mode else 0
    return sum(vcpu.quads[register] for register in registers) + displacement, 5 in registers


def _offset_32_or_64(vcpu: AmdvVcpu, stream: _Bytes, mode: int, rm: int, rex: int) -> tuple[int, bool]:
    base: int | None = rm | (8 if rex & _REX_B else 0)
    scaled = 0
    relative = False
    if rm == 4:
        sib = stream.take()
        index = sib >> 3 & 7 | (8 if rex & _REX_X else 0)
        base = sib & 7 | (8 if rex & _REX_B else 0)
        scaled = 0 if index == 4 else vcpu.quads[index] << (sib >> 6)
        if sib & 7 == 5 and mode == 0:
            base = None
    elif rm == 5 and mode == 0:
        base = None
        relative = vcpu.in_64_bit_mode
    displacement = stream.take(4 if mode in (0, 2) else 1, signed=True) if mode or base is None else 0
    start = vcpu.quads[base] if base is not None else vcpu.rip + stream.position if relative else 0
    return start + scaled + displacement, base in (4, 5)
