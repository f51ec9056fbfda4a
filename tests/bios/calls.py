"""Calls of the BIOS by a boot sector: machine code, a whole machine, and a look at what it has come to."""

import os
import struct
from collections.abc import Callable, Sequence
from typing import Final

import attrs

import kev
from kev.addressing import Gpa
from kev.machine.machine import Machine
from kev.x86 import RFLAGS_CF, RFLAGS_ZF
from tests.boot.images import source
from tests.machine.code import code

_REGISTERS: Final = ("rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi")
_SEGMENTS: Final = {"es": 0xC0, "ds": 0xD8}
_STOP: Final = code("fa f4 ; cli; hlt")
_SECTOR: Final = 512
SMAP: Final = 0x534D4150
BUFFER: Final = 0x9000


@attrs.frozen
class Called:
    """What is there when the code has halted."""

    registers: dict[str, int]
    flags: int
    text: str
    """What is on the screen."""
    output: str
    """What has been printed."""
    warnings: tuple[str, ...]
    memory: bytes
    """The first 640 KiB."""
    message: str
    """How the run has ended."""

    def __getitem__(self, name: str) -> int:
        """A register: 32 bits as `eax`, 16 as `ax`, 8 as `ah` or `al`."""
        if name.startswith("e"):
            return self.registers["r" + name[1:]] & 0xFFFF_FFFF
        if name[1] in "hl":
            return self.registers[f"r{name[0]}x"] >> (8 if name[1] == "h" else 0) & 0xFF
        return self.registers["r" + name] & 0xFFFF

    @property
    def carry(self) -> bool:
        return bool(self.flags & RFLAGS_CF)

    @property
    def zero(self) -> bool:
        return bool(self.flags & RFLAGS_ZF)

    def bytes_at(self, address: int, length: int) -> bytes:
        return self.memory[address : address + length]


def interrupt(vector: int, **registers: int) -> bytes:
    """INT, with 32 bits loaded into registers such as `eax` and 16 into `es` before."""
    segments = b"".join(
        struct.pack("<BHBB", 0xB8, value, 0x8E, _SEGMENTS[name]) for name, value in registers.items() if name in _SEGMENTS
    )
    loads = b"".join(
        struct.pack("<BBI", 0x66, 0xB8 + _REGISTERS.index("r" + name[1:]), value)
        for name, value in registers.items()
        if name not in _SEGMENTS
    )
    return segments + loads + bytes((0xCD, vector))


def text(characters: str) -> bytes:
    """Teletype output of each."""
    return b"".join(interrupt(0x10, eax=0x0E00 | byte) for byte in characters.encode("cp437"))


def run(
    *parts: bytes,
    disk: Sequence[bytes] = (),
    typed: bytes = b"",
    memory: str = "16M",
    size: int = 0,
    seed: int | None = 0,
    at_end: Callable[[Machine], object] | None = None,
) -> Called:
    """Runs a boot sector of these pieces of code, on a disk with these sectors behind it, `size` bytes in all, at least.

    `typed` comes over the serial line when the machine starts.
    """
    boot = (b"".join(parts) + _STOP).ljust(_SECTOR - 2, b"\0") + b"\x55\xaa"
    assert len(boot) == _SECTOR, "the code does not fit into one sector"
    image = b"".join([boot, *(sector.ljust(_SECTOR, b"\0") for sector in disk)]).ljust(size, b"\0")
    return launch(image, typed=typed, memory=memory, seed=seed, at_end=at_end)


def launch(
    image: bytes,
    *,
    typed: bytes = b"",
    memory: str = "16M",
    seed: int | None = 0,
    boot: str | None = None,
    at_end: Callable[[Machine], object] | None = None,
) -> Called:
    called: list[Called] = []
    warnings: list[str] = []

    def look(machine: Machine) -> None:
        state = machine.vm.vcpus[0].state
        called.append(
            Called(
                registers={name: getattr(state, name) for name in _REGISTERS},
                flags=state.rflags,
                text=machine.vm.screen.text,
                output="",
                warnings=tuple(warnings),
                memory=machine.vm.memory.read(Gpa(0), 640 << 10),
                message="" if machine.ending is None else machine.ending.message,
            )
        )
        if at_end is not None:
            at_end(machine)

    reader, writer = os.pipe()
    try:
        os.write(writer, typed)
        os.close(writer)
        report = kev.launch(
            source(image),
            boot=boot,
            memory=memory,
            seed=seed,
            timeout=30,
            log=lambda line: warnings.append(line.decode().rstrip("\n")),
            input_descriptor=reader,
            at_end=look,
        )
    finally:
        os.close(reader)
    return attrs.evolve(called[0], output=(report.output or b"").decode())
