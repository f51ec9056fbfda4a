"""What a processor says of its virtualisation, and what the JOS VMM makes of it (JOS VMM, vmm/vmx.c).

The model holds what the checks read, so that a processor without VMX, or without EPT, can be had as well.
"""

from typing import Final, NamedTuple

from kev.envs.errors import JosError, JosFailure

CPUID_VMX: Final = 1 << 5
"""Of CPUID leaf 1, ECX (Intel SDM vol. 3, "Discovering support for VMX")."""
IA32_VMX_PROCBASED_CTLS: Final = 0x482
IA32_VMX_PROCBASED_CTLS2: Final = 0x48B
"""Intel SDM vol. 3, appendix A.3: bits 63:32 are the controls that may be 1."""
SECONDARY_CONTROLS: Final = 1 << 63
"""Of IA32_VMX_PROCBASED_CTLS: there are secondary controls."""
ENABLE_EPT: Final = 1 << 33
"""Of IA32_VMX_PROCBASED_CTLS2."""


class VmxCapabilities(NamedTuple):
    """Of the host's processor. By default it has all that the JOS VMM asks for."""

    cpuid_1_ecx: int = CPUID_VMX
    procbased_ctls: int = SECONDARY_CONTROLS
    procbased_ctls2: int = ENABLE_EPT

    @property
    def has_vmx(self) -> bool:
        return bool(self.cpuid_1_ecx & CPUID_VMX)

    @property
    def has_ept(self) -> bool:
        """The second register exists only if the first says so."""
        return bool(self.procbased_ctls & SECONDARY_CONTROLS and self.procbased_ctls2 & ENABLE_EPT)


def check_support(processor: VmxCapabilities) -> None:
    """JosFailure: E_NO_VMX or E_NO_EPT. What it says is what the JOS VMM prints."""
    if not processor.has_vmx:
        raise JosFailure(JosError.NO_VMX, "[VMM] VMX extension not supported.")
    if not processor.has_ept:
        raise JosFailure(JosError.NO_EPT, "[VMM] EPT extension not supported.")
