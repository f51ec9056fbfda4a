"""Writes to CR4, which the emulated CPU accepts with reserved bits set (Intel SDM vol. 3, "Control registers")."""

from typing import TYPE_CHECKING, Final

from unicorn import x86_const as x86

from kev.engine.amdv.vcpu import AmdvVcpu
from kev.exits import GENERAL_PROTECTION

if TYPE_CHECKING:
    from kev.engine.amdv.engine import AmdvEngine

_PAE: Final = 1 << 5
_UMIP: Final = 1 << 11
_DEFINED: Final = (
    0x7FF  # VME PVI TSD DE PSE PAE MCE PGE PCE OSFXSR OSXMMEXCPT
    | _UMIP
    | 1 << 16  # FSGSBASE
    | 1 << 20  # SMEP
    | 1 << 21  # SMAP
)
_LENGTH: Final = 3  # of MOV CR4, reg without a REX prefix


def write_cr4(engine: "AmdvEngine", vcpu: AmdvVcpu) -> None:
    code = engine.linear.peek(vcpu, vcpu.cs.base + vcpu.rip, _LENGTH + 1)
    prefix = code[0] if code[0] & 0xF0 == 0x40 and vcpu.long_mode else 0
    mod_rm = code[3] if prefix else code[2]
    source = mod_rm & 7 | (prefix & 1) << 3
    value = vcpu.quads[source]
    if value & ~_DEFINED or (vcpu.long_mode and not value & _PAE):
        engine.raise_exception(vcpu, GENERAL_PROTECTION)
        return
    engine.uc.reg_write(x86.UC_X86_REG_CR4, value)
    engine.set_umip(bool(value & _UMIP))
    vcpu.skip(_LENGTH + bool(prefix))
