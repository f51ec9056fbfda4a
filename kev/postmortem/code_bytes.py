"""The code that a vCPU was about to execute: as instructions where Capstone is installed, else as bytes."""

from typing import Any, Final

import attrs

from kev.postmortem.loaded_memory import LoadedMemory
from kev.postmortem.registers import VcpuRegisters

_BEFORE: Final = 12
_FROM: Final = 32
_SHOWN: Final = 14
_MOST_INSTRUCTIONS: Final = 5


@attrs.frozen(slots=True, kw_only=True)
class CodeBytes:
    """Bytes around an instruction."""

    address: int
    """Linear, of the instruction."""
    before: bytes
    """Up to 12 bytes in front of it."""
    code: bytes
    """From it on; empty if they cannot be read."""
    instructions: tuple[tuple[int, str], ...] = ()
    """Addresses and mnemonics, if there is a disassembler."""

    def as_text(self) -> list[str]:
        """Instructions, or one line of bytes in which the first of the instruction is in angle brackets."""
        if not self.code:
            return ["the code there cannot be read: its page is not loaded, or not mapped"]
        if self.instructions:
            return [f"{'>' if address == self.address else ' '} {address:#x}: {text}" for address, text in self.instructions]
        rest = self.code[1:_SHOWN].hex(" ")
        return [f"{self.before.hex(' ')} <{self.code[:1].hex()}> {rest}".strip()]

    def as_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        instructions = [{"address": address, "text": text} for address, text in self.instructions]
        return {"address": self.address, "before": self.before.hex(), "code": self.code.hex(), "instructions": instructions}


def code_bytes(memory: LoadedMemory, registers: VcpuRegisters) -> CodeBytes:
    """The code around a vCPU's next instruction, as far as it is loaded."""
    address = registers.linear_rip
    code = memory.read_as_far_as_possible(registers, address, _FROM)
    before = b""
    for length in range(_BEFORE, 0, -1):
        before = memory.read_as_far_as_possible(registers, address - length, length) if address >= length else b""
        if len(before) == length:
            break
    else:
        before = b""
    return CodeBytes(address=address, before=before, code=code, instructions=_disassemble(code, address, registers.bits))


def _disassemble(code: bytes, address: int, bits: int) -> tuple[tuple[int, str], ...]:
    try:
        import capstone
    except ImportError:
        return ()
    modes = {16: capstone.CS_MODE_16, 32: capstone.CS_MODE_32, 64: capstone.CS_MODE_64}
    decoder = capstone.Cs(capstone.CS_ARCH_X86, modes[bits])
    found = decoder.disasm_lite(code, address, _MOST_INSTRUCTIONS)
    return tuple((at, f"{mnemonic} {operands}".strip()) for at, _, mnemonic, operands in found)
