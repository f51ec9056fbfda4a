"""RDRAND and RDSEED with numbers that a seed makes, instead of the host's (Intel SDM vol. 2, "RDRAND").

The emulated CPU asks the host's operating system. But it does so only if its own CPUID announces RDRAND; if not, it reports an
undefined instruction. So the announcement is taken back, and the instruction is emulated.
"""

from random import Random
from typing import Final

from kev import x86
from kev.engine.amdv import layout
from kev.engine.amdv.decode import LONGEST_INSTRUCTION, UndecodableInstruction, decode, has_prefix
from kev.engine.amdv.linear import LinearMemory
from kev.engine.amdv.vcpu import AmdvVcpu

_OPCODE: Final = 0xC7
_RDRAND, _RDSEED = 6, 7
_FORBIDDEN_PREFIXES: Final = frozenset({0xF0, 0xF2, 0xF3})
_CPUID_1_ECX_RDRAND: Final = 1 << 30
_NUMBER_BITS: Final = 64


class RandomNumbers:
    """What the vCPUs of a machine get: each its own sequence, whatever the others do."""

    __slots__ = ("_features", "_seed")

    def __init__(self, state: int, seed: int) -> None:
        """`state` is the address of the CPU state, which `close` leaves as it was. UnknownBuild."""
        self._seed: Final = seed
        self._features: Final = layout.cpuid_1_ecx(state)
        self._features.value &= ~_CPUID_1_ECX_RDRAND

    def close(self) -> None:
        self._features.value |= _CPUID_1_ECX_RDRAND

    def emulate(self, linear: LinearMemory, vcpu: AmdvVcpu) -> bool:
        """Executes RDRAND or RDSEED; False if another instruction is at RIP."""
        code = linear.peek(vcpu, vcpu.instruction_address, LONGEST_INSTRUCTION)
        try:
            instruction = decode(vcpu, code)
        except UndecodableInstruction:
            return False
        register = instruction.operand.register
        if instruction.opcode != _OPCODE or instruction.extension & 7 not in (_RDRAND, _RDSEED) or register is None:
            return False
        if has_prefix(code, _FORBIDDEN_PREFIXES):
            return False
        number = self._next(vcpu)
        if instruction.operand_size == 2:
            number = vcpu.quads[register] & ~0xFFFF | number & 0xFFFF
        elif instruction.operand_size == 4:
            number &= 0xFFFF_FFFF
        vcpu.quads[register] = number
        vcpu.set_rflags(vcpu.rflags & ~x86.RFLAGS_ARITHMETIC | x86.RFLAGS_CF)
        vcpu.skip(instruction.length)
        return True

    def _next(self, vcpu: AmdvVcpu) -> int:
        vcpu.random_numbers += 1
        return Random(f"{self._seed} {vcpu.index} {vcpu.random_numbers}").getrandbits(_NUMBER_BITS)
