"""SYSCALL and SYSENTER, which Unicorn decodes but does not execute.

AMD64 Architecture Programmer's Manual vol. 3, "SYSCALL", and Intel SDM vol. 2, "SYSENTER". The functions are called while RIP is
on the instruction; the CPU still moves it past by the instruction's `length`, which is why they leave RIP so many bytes short.
"""

from typing import Final

from kev.engine.amdv import layout
from kev.engine.amdv.vcpu import (
    CS,
    HFLAGS_ADDSEG,
    HFLAGS_CPL,
    HFLAGS_CS32,
    HFLAGS_CS64,
    HFLAGS_INHIBIT_IRQ,
    HFLAGS_LMA,
    HFLAGS_SS32,
    SS,
    AmdvVcpu,
)
from kev.exits import GENERAL_PROTECTION, INVALID_OPCODE, GuestException
from kev.x86 import CODE_32, CODE_64, DATA_32, EFER_SCE, RFLAGS_IF, RFLAGS_RF, RFLAGS_VM

LENGTH: Final = 2  # of either instruction, in bytes, without prefixes

_CODE_64: Final = CODE_64 << 8  # second word of a flat descriptor
_CODE_32: Final = CODE_32 << 8
_DATA: Final = DATA_32 << 8


def syscall(vcpu: AmdvVcpu, length: int) -> GuestException | None:
    """SYSCALL; the exception it raises, if any."""
    quads = vcpu.quads
    if not quads[layout.EFER >> 3] & EFER_SCE or not vcpu.protected_mode:
        return INVALID_OPCODE
    hflags = vcpu.words[layout.HFLAGS >> 2]
    rflags = vcpu.rflags
    star = quads[layout.STAR >> 3]
    selector = star >> 32 & 0xFFFC
    if hflags & HFLAGS_LMA:
        vcpu.rcx = vcpu.rip + length
        vcpu.r11 = rflags & ~RFLAGS_RF
        target = quads[(layout.LSTAR if hflags & HFLAGS_CS64 else layout.CSTAR) >> 3]
        rflags &= ~(quads[layout.FMASK >> 3] & 0xFFFF_FFFF) & ~RFLAGS_RF
        _enter_kernel(vcpu, selector, target - length, rflags, long_mode=True)
    else:
        vcpu.rcx = (vcpu.rip + length) & 0xFFFF_FFFF
        rflags &= ~(RFLAGS_IF | RFLAGS_RF | RFLAGS_VM)
        _enter_kernel(vcpu, selector, (star & 0xFFFF_FFFF) - length, rflags, long_mode=False)
    return None


def sysenter(vcpu: AmdvVcpu, length: int) -> GuestException | None:
    """SYSENTER; the exception it raises, if any."""
    quads = vcpu.quads
    selector = quads[layout.SYSENTER_CS >> 3] & 0xFFFC
    if not vcpu.protected_mode or not selector:
        return GENERAL_PROTECTION
    long_mode = vcpu.long_mode
    mask = 0xFFFF_FFFF_FFFF_FFFF if long_mode else 0xFFFF_FFFF
    vcpu.rsp = quads[layout.SYSENTER_ESP >> 3] & mask
    target = quads[layout.SYSENTER_EIP >> 3] & mask
    rflags = vcpu.rflags & ~(RFLAGS_IF | RFLAGS_RF | RFLAGS_VM)
    _enter_kernel(vcpu, selector, target - length, rflags, long_mode=long_mode)
    return None


def _enter_kernel(vcpu: AmdvVcpu, selector: int, rip: int, rflags: int, *, long_mode: bool) -> None:
    vcpu.set_raw_segment(CS, selector, 0, 0xFFFF_FFFF, _CODE_64 if long_mode else _CODE_32)
    vcpu.set_raw_segment(SS, selector + 8 & 0xFFFF, 0, 0xFFFF_FFFF, _DATA)
    vcpu.set_rflags(rflags)
    cleared = HFLAGS_CPL | HFLAGS_CS64 | HFLAGS_INHIBIT_IRQ | HFLAGS_ADDSEG
    hflags = vcpu.words[layout.HFLAGS >> 2] & ~cleared | HFLAGS_CS32 | HFLAGS_SS32
    vcpu.words[layout.HFLAGS >> 2] = hflags | (HFLAGS_CS64 if long_mode else 0)
    vcpu.rip = rip
