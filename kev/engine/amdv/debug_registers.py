"""MOV to and from debug registers, and where data breakpoints are (Intel SDM vol. 3, "Debug registers").

The emulated CPU knows execution and I/O breakpoints. It neither raises #DB for data breakpoints nor knows DR7.GD.
"""

from typing import Final

from kev.engine.amdv import layout
from kev.engine.amdv.control_registers import moved_register
from kev.engine.amdv.exit_context import ExitContext
from kev.engine.amdv.vcpu import AmdvVcpu, DataBreakpoint
from kev.exits import GENERAL_PROTECTION, INVALID_OPCODE, Access, GuestException, PreemptionTimer
from kev.x86 import CR4_DE, DEBUG, DR6_BD, DR7_GD, RFLAGS_RF

_FIRST: Final = layout.DEBUG_REGISTERS >> 3
_DR6: Final = _FIRST + 6
_DR7: Final = _FIRST + 7
_ALIASES: Final = {4: 6, 5: 7}
"""What DR4 and DR5 are while CR4.DE is clear."""
_HITS: Final = 0xF
_STI: Final = b"\xfb"
_MASK32: Final = 0xFFFF_FFFF
_DR6_ONES, _DR7_ONES = 0xFFFF_0FF0, 0x400
_DR6_ZEROS, _DR7_ZEROS = 1 << 12, 0xD000
"""Reserved bits, which read as they always do."""

_ACCESSES: Final = {1: Access.WRITE, 3: Access.READ | Access.WRITE}
"""Of the R/W field; 0 is execution, 2 is I/O."""
_LENGTHS: Final = (1, 2, 8, 4)
"""Of the LEN field."""


def data_breakpoints(vcpu: AmdvVcpu) -> tuple[DataBreakpoint, ...]:
    """Those that DR7 enables."""
    dr7 = vcpu.quads[_DR7]
    found = []
    for number in range(4):
        access = _ACCESSES.get(dr7 >> 16 + 4 * number & 3)
        if dr7 >> 2 * number & 3 and access is not None:
            length = _LENGTHS[dr7 >> 18 + 4 * number & 3]
            start = vcpu.quads[_FIRST + number] & -length
            found.append(DataBreakpoint(number, range(start, start + length), access))
    return tuple(found)


def is_behind_stack_switch(exits: ExitContext, vcpu: AmdvVcpu) -> bool:
    """Whether the execution breakpoint that the CPU has just met stands behind MOV SS or POP SS, which hold it back.

    Then the instruction there is executed next (Intel SDM vol. 3, "Masking exceptions and interrupts when switching stacks").
    """
    if not vcpu.interrupt_shadow or exits.linear.peek(vcpu, vcpu.instruction_address - 1, 1) == _STI:
        return False
    met = vcpu.quads[_DR6] & _HITS
    if not any(met >> number & 1 and vcpu.quads[_FIRST + number] == vcpu.instruction_address for number in range(4)):
        return False
    vcpu.quads[_DR6] &= ~_HITS
    vcpu.quads[layout.RFLAGS >> 3] |= RFLAGS_RF
    return True


def read_debug_register(exits: ExitContext, vcpu: AmdvVcpu) -> None:
    """While DR7.GD is set."""
    _detect(exits, vcpu)


def write_debug_register(exits: ExitContext, vcpu: AmdvVcpu) -> None:
    instruction, register = moved_register(exits, vcpu)
    if vcpu.quads[_DR7] & DR7_GD:
        _detect(exits, vcpu)
        return
    value = vcpu.quads[register]
    if not vcpu.in_64_bit_mode:
        value &= _MASK32
    number = instruction.extension & 7
    if number in _ALIASES:
        if vcpu.cr4 & CR4_DE:
            exits.events.raise_exception(vcpu, INVALID_OPCODE)
            return
        number = _ALIASES[number]
    if number > 3 and value > _MASK32:
        exits.events.raise_exception(vcpu, GENERAL_PROTECTION)
        return
    stops = exits.debug_stops
    _write(vcpu, number, value)
    vcpu.skip(instruction.length)
    exits.intercepts.follow(vcpu)
    if exits.debug_stops is not stops:
        # Only code that is counted can be left behind an access, and what is running now was translated otherwise.
        exits.slice.stop(vcpu, PreemptionTimer())


def _write(vcpu: AmdvVcpu, number: int, value: int) -> None:
    if number == 6:
        vcpu.quads[_DR6] = value & ~_DR6_ZEROS | _DR6_ONES
    elif number == 7:
        vcpu.write_debug_register(7, value & ~_DR7_ZEROS | value & DR7_GD | _DR7_ONES)
    else:
        vcpu.write_debug_register(number, value)


def _detect(exits: ExitContext, vcpu: AmdvVcpu) -> None:
    """General detection: a fault, whose handler may access the registers."""
    vcpu.quads[_DR6] |= DR6_BD
    vcpu.quads[_DR7] &= ~DR7_GD
    exits.intercepts.follow(vcpu)
    exits.events.raise_exception(vcpu, GuestException(DEBUG))
