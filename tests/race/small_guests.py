"""Guests of a few dozen instructions, on two or three processors, written as lists of what each processor does.

The first processor runs 32-bit code at 0x8020, and starts the others, which run 16-bit code at 0x9000. Variables are bytes.
"""

import struct
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final, TypeAlias

from kev.abi.base import MARK
from kev.addressing import MIB
from kev.race.guest.subject import GuestSubject
from kev.spec.machine_spec import MachineSpec
from tests.boot.images import multiboot1_header
from tests.machine.code import code

_LOAD: Final = 0x8000
_OTHERS: Final = 0x9000
_VARIABLES: Final = 0xA000
NMI_HANDLER: Final = 0x9800
_ICR: Final = 0xFEE0_0300
_ADDRESSES_IN_HEADER: Final = 1 << 16
DONE: Final = 15
"""The variable in which the other processors count themselves when they have done everything."""

Action: TypeAlias = Callable[[int], bytes]
"""The code of something that a processor does, for 16 or 32 bits."""


def _address(bits: int, variable: int) -> bytes:
    return struct.pack("<H" if bits == 16 else "<I", _VARIABLES + variable)


def _memory(bits: int, extension: int, variable: int) -> bytes:
    """ModRM byte and address."""
    return bytes((extension << 3 | (6 if bits == 16 else 5),)) + _address(bits, variable)


def increment(variable: int) -> Action:
    """In three instructions."""
    return lambda bits: b"\xa0" + _address(bits, variable) + b"\xfe\xc0\xa2" + _address(bits, variable)


def unlocked_increment(variable: int) -> Action:
    """In one instruction."""
    return lambda bits: b"\xfe" + _memory(bits, 0, variable)


def forget_page(variable: int) -> Action:
    """INVLPG of a variable's."""
    return lambda bits: b"\x0f\x01" + _memory(bits, 7, variable)


def locked_increment(variable: int) -> Action:
    return lambda bits: b"\xf0\xfe" + _memory(bits, 0, variable)


def store(variable: int, value: int) -> Action:
    return lambda bits: b"\xc6" + _memory(bits, 0, variable) + bytes((value,))


def copy(source: int, target: int) -> Action:
    return lambda bits: b"\xa0" + _address(bits, source) + b"\xa2" + _address(bits, target)


def compare(variable: int, value: int) -> Action:
    """CMP of a variable."""
    return lambda bits: b"\x80" + _memory(bits, 7, variable) + bytes((value,))


def wait_until(variable: int, value: int, *, pause: bool = True) -> Action:
    """Spins until a variable has a value."""

    def build(bits: int) -> bytes:
        comparison = compare(variable, value)(bits)
        between = b"\xf3\x90" if pause else b""
        back = b"\xeb" + struct.pack("b", -(len(comparison) + 2 + len(between) + 2))
        return comparison + b"\x74" + bytes((len(between) + 2,)) + between + back

    return build


def acquire(variable: int, *, pause: bool = True) -> Action:
    """Takes a spinlock by XCHG."""

    def build(bits: int) -> bytes:
        exchange = b"\xb0\x01\x86" + _memory(bits, 0, variable) + b"\x84\xc0"
        between = b"\xf3\x90" if pause else b""
        back = b"\xeb" + struct.pack("b", -(len(exchange) + 2 + len(between) + 2))
        return exchange + b"\x74" + bytes((len(between) + 2,)) + between + back

    return build


def acquire_both(own: int, other: int) -> Action:
    """Takes one spinlock, waits a little, and tries the other: if somebody has that, it gives its own back, and begins again."""

    def build(bits: int) -> bytes:
        attempt = acquire(own)(bits) + relax(bits) + b"\xb0\x01\x86" + _memory(bits, 0, other) + b"\x84\xc0"
        back = release(own)(bits)
        return attempt + b"\x74" + bytes((len(back) + 2,)) + back + b"\xeb" + struct.pack("b", -(len(attempt) + 2 + len(back) + 2))

    return build


def acquire_badly(variable: int) -> Action:
    """Takes a spinlock with one instruction that tests and another that sets."""
    return lambda bits: wait_until(variable, 0)(bits) + store(variable, 1)(bits)


def release(variable: int) -> Action:
    return store(variable, 0)


def read_cmos(register: int, variable: int) -> Action:
    """Reads one of the RTC's registers, by the ports 0x70 and 0x71."""
    return lambda bits: b"\xb0" + bytes((register,)) + b"\xe6\x70\xe4\x71\xa2" + _address(bits, variable)


def read_firmware_file(item: int, variable: int) -> Action:
    """Reads the first byte of one of fw_cfg's items: its number goes to the port 0x510 as a word, and 0x511 has the bytes."""

    def build(bits: int) -> bytes:
        word = b"" if bits == 16 else b"\x66"
        select = word + b"\xba\x10\x05" + word + b"\xb8" + struct.pack("<H", item) + word + b"\xef"
        return select + word + b"\xba\x11\x05\xec\xa2" + _address(bits, variable)

    return build


def print_byte(byte: int) -> Action:
    """To the debug console, port 0xe9."""
    return lambda _bits: bytes((0xB0, byte, 0xE6, 0xE9))


def random(variable: int) -> Action:
    """RDRAND."""
    return lambda bits: b"\x0f\xc7\xf0\xa2" + _address(bits, variable)


def mark(_bits: int) -> bytes:
    """The hypercall that says that what is explored begins: for the first processor."""
    return b"\xb8" + struct.pack("<I", MARK) + b"\x0f\x01\xc1"


def relax(_bits: int) -> bytes:
    """PAUSE."""
    return b"\xf3\x90"


def sleep_until(variable: int, value: int) -> Action:
    """Executes HLT, which an NMI ends, until a variable has a value: for the other processors."""

    def build(bits: int) -> bytes:
        comparison = compare(variable, value)(bits)
        return comparison + b"\x74\x03\xf4\xeb" + struct.pack("b", -(len(comparison) + 5))

    return build


def look_then_sleep_until(variable: int, value: int) -> Action:
    """The same with the first look in front of the loop, as compilers put it."""

    def build(bits: int) -> bytes:
        comparison = compare(variable, value)(bits)
        loop = b"\xf4" + comparison + b"\x75" + struct.pack("b", -(len(comparison) + 3))
        return comparison + b"\x74" + bytes((len(loop),)) + loop

    return build


def wake(processor: int) -> Action:
    """Sends an NMI: for the first processor."""
    return lambda _bits: b"\xc7\x05" + struct.pack("<II", 2 * 4, NMI_HANDLER) + _send(processor, 0x4400)


def _send(processor: int, message: int) -> bytes:
    destination = b"\xc7\x05" + struct.pack("<II", _ICR + 0x10, processor << 24)
    return destination + b"\xc7\x05" + struct.pack("<II", _ICR, message)


def guest(first: Iterable[Action], others: Iterable[Action], *, vcpus: int = 2, show: Sequence[int] = (0, 1)) -> bytes:
    """An image. The first processor starts the others, does its part, waits for the others' ends and ends the run.

    The exit code is made of two bits of each variable in `show`.
    """
    start = b"".join(_send(processor, 0x4500) + _send(processor, 0x4609) for processor in range(1, vcpus))
    text = start + b"".join(action(32) for action in first) + wait_until(DONE, vcpus - 1)(32)
    text += code("31 db ; xor ebx, ebx")
    for position, variable in enumerate(show):
        text += b"\x0f\xb6" + _memory(32, 0, variable)  # movzx eax, byte [variable]
        text += code("83 e0 03") + b"\xc1\xe0" + bytes((2 * position,)) + code("09 c3 ; and eax, 3; shl eax, n; or ebx, eax")
    text += code("89 df 31 c0 0f 01 c1 f4 ; mov edi, ebx; xor eax, eax; vmcall; hlt")
    other = b"".join(action(16) for action in others) + locked_increment(DONE)(16) + code("fa f4 eb fd ; 1: cli; hlt; jmp 1b")
    image = bytearray(multiboot1_header(_ADDRESSES_IN_HEADER, [_LOAD, _LOAD, 0, 0, _LOAD + 32]) + text)
    image = image.ljust(_OTHERS - _LOAD, b"\xf4") + other
    image = image.ljust(NMI_HANDLER - _LOAD, b"\xf4") + b"\xcf"  # iret
    return bytes(image.ljust(_VARIABLES - _LOAD, b"\xf4") + bytes(16))


def subject(folder: Path, image: bytes, vcpus: int = 2, memory: int = MIB, after: str | None = None) -> GuestSubject:
    return GuestSubject.find(spec(folder, image, vcpus, memory), after=after)


def spec(folder: Path, image: bytes, vcpus: int = 2, memory: int = MIB) -> MachineSpec:
    """Of a machine that runs it. It need not come to an end when nobody interferes."""
    file = folder / "guest"
    file.write_bytes(image)
    return MachineSpec(str(file), vcpus=vcpus, memory=memory)
