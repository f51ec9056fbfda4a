"""Where Unicorn keeps the emulated CPU's state, found and checked once for every engine.

Unicorn has no interface for what a hypervisor needs on every exit: error codes, hidden parts of segments, pending interrupts. They
lie in its CPU structure, which a saved context is a copy of. The offsets are those of the 2.1 series; `locate` confirms
them against values it planted, so that a build laid out otherwise is refused by name and never silently misread.
"""

import ctypes
import struct
from collections.abc import Sequence
from functools import cache
from typing import Final

from kev import x86
from kev.engine.amdv import libunicorn
from kev.engine.amdv.libunicorn import EmulatedCpu
from kev.errors import KevError
from kev.named_tuple import NamedTuple

# Offsets into the CPU state (CPUX86State).
GENERAL_REGISTERS: Final = 0  # RAX RCX RDX RBX RSP RBP RSI RDI R8-R15, 8 bytes each
RIP: Final = 128
RFLAGS: Final = 136  # without the arithmetic flags and DF, which are kept apart:
CC_DST: Final = 144
CC_SRC: Final = 152
CC_SRC2: Final = 160
CC_OP: Final = 168
DF: Final = 172
HFLAGS: Final = 176
HFLAGS2: Final = 180
SEGMENTS: Final = 184  # ES CS SS DS FS GS LDTR TR GDTR IDTR, 24 bytes each
CONTROL_REGISTERS: Final = 424  # CR0-CR4
EFER: Final = 592
FPU_TOP: Final = 604
FPU_STATUS: Final = 608  # without the top of the stack
FPU_CONTROL: Final = 610
FPU_TAGS: Final = 612  # a byte for each physical register: 1 if it is empty
FPU_REGISTERS: Final = 624  # physical ones, 16 bytes each, of which 10 count
FPU_OPCODE: Final = 752
FPU_CS: Final = 754
FPU_DS: Final = 756
FPU_IP: Final = 760
FPU_DP: Final = 768
MXCSR: Final = 816
XMM: Final = 824
XMM_DISTANCE: Final = 64
SYSENTER_CS: Final = 4800
SYSENTER_ESP: Final = 4808
SYSENTER_EIP: Final = 4816
STAR: Final = 4824
LSTAR: Final = 4840
CSTAR: Final = 4848
FMASK: Final = 4856
KERNEL_GS_BASE: Final = 4864
TSC_AUX: Final = 4896
XCR0: Final = 4904
PAT: Final = 5280
ERROR_CODE: Final = 5384
EXCEPTION_IS_INT: Final = 5388
EXCEPTION_NEXT_EIP: Final = 5392
DEBUG_REGISTERS: Final = 5400  # DR0-DR7
OLD_EXCEPTION: Final = 5496
INTERCEPT: Final = 5520  # exit codes from 0x60 on
INTERCEPT_REGISTERS: Final = 5528  # exit codes below 0x40
FAULTING_CODE: Final = 5560  # where translated code faulted; 0 if no instruction had begun: a fetch, or an event's delivery
SIZE: Final = 5568
_VENDOR: Final = 5616  # what CPUID says: behind the part that a saved context has
_CPUID_1_ECX: Final = 5640

# Offsets from the CPU structure (CPUState), which the state lies in.
_STATE_IN_CPU: Final = 35408
_INTERRUPT_REQUEST: Final = 28
_USER_POINTER: Final = 33136  # what QEMU leaves to its users
_UC: Final = 33192  # where uc_struct is, followed by where the table of the CPU's functions is
_EXIT_REQUESTED: Final = -14  # before the state: the half-word that ends a chain of translated blocks

# Offsets from the CPU state (CPUX86State) to what lies before it: what is known of the TLBs of the MMU's modes.
_TLBS_IN_USE: Final = -2192  # a bit for each mode; the others are not looked at when the TLB is flushed
_TLB_WINDOWS: Final = -2144  # when a window of time began, and the most entries used in it
_TLB_DISTANCE: Final = 696
_TLB_MASKS: Final = -64  # of indices, with a pointer behind each
_TLB_MODES: Final = 3
_NANOSECONDS: Final = range(1 << 59, 1 << 62)  # since 1970, from 1988 to 2116
TLB_MASK: Final = 255 << 6
"""That of a new CPU: 256 entries of 64 bytes."""

# Indices of pointers in the table of the CPU's functions.
_TLB_FILL: Final = 9  # the one behind it is what this is at first

# Offsets into uc_struct.
_CPU_POINTER: Final = 440
_COUNTER: Final = 1368
_COUNT_LIMIT: Final = 1376
_NO_EXIT_REQUEST: Final = 2034

_PROBE_MSRS: Final = {
    x86.MSR_EFER: (EFER, 0x1500),
    x86.MSR_STAR: (STAR, 0x11),
    x86.MSR_LSTAR: (LSTAR, 0x22),
    x86.MSR_SFMASK: (FMASK, 0x33),
}
_FCW: Final = 0x37F
_MXCSR: Final = 0x1F80
_PAT_AT_RESET: Final = 0x0007_0406_0007_0406


class UnknownBuild(KevError):
    """The installed Unicorn keeps its CPU state in another place than this engine knows."""


class CpuMemory(NamedTuple):
    """The emulated CPU's own memory, live: what is written here counts from the next instruction on."""

    cpu: int
    """The address of the CPU structure, in this process."""
    address: int
    """Of the CPU state, in this process."""
    state: memoryview
    """The state, byte by byte."""
    quads: memoryview
    """The same as 64-bit words, index = offset >> 3."""
    words: memoryview
    """The same as 32-bit words, index = offset >> 2."""
    interrupt_request: ctypes.c_uint32
    """Bits of `kev.engine.amdv.delivery`: what the CPU takes at the next block boundary."""
    host_request: ctypes.c_uint8
    """The lowest byte of `interrupt_request`."""
    leave_chain: ctypes.c_uint16
    """0xFFFF ends a chain of translated blocks, so that `interrupt_request` is looked at."""
    whole_instructions: ctypes.c_uint8
    """1: code translated from now on looks at `leave_chain` at the beginning of blocks only.

    Otherwise it also does so behind every memory access, in the middle of the instruction, which is then executed a second time.
    """
    counter: ctypes.c_uint64
    """Instructions begun in the running counted slice, plus 1 at its end."""
    count_limit: ctypes.c_uint64
    """The slice ends before instruction number `count_limit` + 1."""


class TlbHooks(NamedTuple):
    """How a function is put in the place of the one that fills the TLB."""

    tlb_fill: ctypes.c_uint64
    """The address of the function that the CPU calls."""
    user_pointer: ctypes.c_uint64
    """What that function finds in the CPU: nobody else uses it."""
    in_use: ctypes.c_uint16
    """A bit for each mode of the MMU: without it, its TLB is left alone when all are flushed."""
    windows: Sequence[memoryview]
    """For each mode, two quadwords: when the window began (nanoseconds of the host's clock), and the most entries used in it."""
    masks: Sequence[ctypes.c_uint64]
    """For each mode, 64 times one less than how many entries its TLB has."""


def view(address: int, length: int) -> memoryview:
    """`length` bytes of this process's memory, writable."""
    return memoryview((ctypes.c_char * length).from_address(address)).cast("B")


def locate(uc: EmulatedCpu) -> CpuMemory:
    """Finds the CPU's memory and checks every place it will be used at. `uc` must be new. UnknownBuild if anything differs."""
    for register_number, register in enumerate(libunicorn.GENERAL_REGISTERS):
        uc.write_register(register, _planted(register_number))
    for msr, (_, value) in _PROBE_MSRS.items():
        uc.write_msr(msr, value)
    uc.write_register(libunicorn.REG_FPCW, _FCW)
    uc.write_register(libunicorn.REG_MXCSR, _MXCSR)
    uc_struct = uc.handle
    (cpu,) = struct.unpack("<Q", _peek(uc_struct + _CPU_POINTER, 8))
    state = cpu + _STATE_IN_CPU
    bytes_found = _peek(state, SIZE)
    expected = {GENERAL_REGISTERS + 8 * i: struct.pack("<Q", _planted(i)) for i in range(16)}
    expected |= {offset: struct.pack("<Q", value) for offset, value in _PROBE_MSRS.values()}
    expected[FPU_CONTROL], expected[MXCSR] = struct.pack("<H", _FCW), struct.pack("<I", _MXCSR)
    expected[PAT] = struct.pack("<Q", _PAT_AT_RESET)
    expected[OLD_EXCEPTION] = struct.pack("<i", -1)
    for offset, planted in expected.items():
        if bytes_found[offset : offset + len(planted)] != planted:
            raise _unknown(f"no CPU state where the 2.1 series has it (offset {offset} differs)")
    if _peek(uc_struct + _NO_EXIT_REQUEST, 2) != b"\x00\x01":
        raise _unknown(f"its flags are not where the 2.1 series has them (offset {_NO_EXIT_REQUEST})")
    for register in libunicorn.GENERAL_REGISTERS:
        uc.write_register(register, 0)
    for msr in _PROBE_MSRS:
        uc.write_msr(msr, 0)
    memory = view(state, SIZE)
    return CpuMemory(
        cpu=cpu,
        address=state,
        state=memory,
        quads=memory.cast("Q"),
        words=memory.cast("I"),
        interrupt_request=ctypes.c_uint32.from_address(cpu + _INTERRUPT_REQUEST),
        host_request=ctypes.c_uint8.from_address(cpu + _INTERRUPT_REQUEST),
        leave_chain=ctypes.c_uint16.from_address(state + _EXIT_REQUESTED),
        whole_instructions=ctypes.c_uint8.from_address(uc_struct + _NO_EXIT_REQUEST),
        counter=ctypes.c_uint64.from_address(uc_struct + _COUNTER),
        count_limit=ctypes.c_uint64.from_address(uc_struct + _COUNT_LIMIT),
    )


def tlb_hooks(cpu: CpuMemory, tlb_fill: int) -> TlbHooks | None:
    """The places of a CPU whose own function for that is at `tlb_fill`; None if they are not where the 2.1 series has them."""
    beginning = cpu.address - _STATE_IN_CPU
    try:
        uc_struct, functions = _pointers(beginning + _UC, 2)
        found = [
            *_pointers(uc_struct + _CPU_POINTER),
            *_pointers(functions + 8 * _TLB_FILL, 2),
            *_pointers(beginning + _USER_POINTER),
        ]
    except UnknownBuild:
        return None
    masks = [ctypes.c_uint64.from_address(cpu.address + _TLB_MASKS + 16 * mode) for mode in range(_TLB_MODES)]
    windows = [view(cpu.address + _TLB_WINDOWS + _TLB_DISTANCE * mode, 16).cast("Q") for mode in range(_TLB_MODES)]
    if found != [beginning, tlb_fill, tlb_fill, 0] or any(mask.value != TLB_MASK for mask in masks):
        return None
    if any(window[0] not in _NANOSECONDS for window in windows):
        return None
    return TlbHooks(
        ctypes.c_uint64.from_address(functions + 8 * _TLB_FILL),
        ctypes.c_uint64.from_address(beginning + _USER_POINTER),
        ctypes.c_uint16.from_address(cpu.address + _TLBS_IN_USE),
        windows,
        masks,
    )


def _pointers(address: int, count: int = 1) -> tuple[int, ...]:
    return struct.unpack(f"<{count}Q", _peek(address, 8 * count))


@cache
def cpuid_1_ecx(state: int) -> ctypes.c_uint32:
    """What the CPU whose state is at `state` announces by ECX of CPUID leaf 1, and so what it knows. UnknownBuild.

    Looked for once: a process that is confined can look no more.
    """
    if _peek(state + _VENDOR, 12) != b"AuthenticAMD":
        raise _unknown(f"its CPUID is not where the 2.1 series has it (offset {_VENDOR})")
    return ctypes.c_uint32.from_address(state + _CPUID_1_ECX)


def _planted(register_number: int) -> int:
    return 0x6B65_7600_0000_0000 | register_number << 8


def _unknown(difference: str) -> UnknownBuild:
    return UnknownBuild(f"unicorn {libunicorn.version()}: {difference}")


def _peek(address: int, length: int) -> bytes:
    """Reads this process's memory; UnknownBuild, not a crash, where there is none and the system offers a way to tell."""
    try:
        with open("/proc/self/mem", "rb", buffering=0) as memory:
            memory.seek(address)
            return memory.read(length)
    except FileNotFoundError:
        return ctypes.string_at(address, length)
    except OSError as error:
        raise UnknownBuild(
            f"/proc/self/mem: {error.strerror}: the CPU state of unicorn {libunicorn.version()} is not found"
        ) from error
    except (OverflowError, ValueError) as error:
        raise _unknown(f"no CPU state where the 2.1 series has it ({error})") from error
