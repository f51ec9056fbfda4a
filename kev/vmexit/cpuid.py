"""CPUID: the processor that guests see."""

from collections.abc import Callable
from typing import Final

from kev.engine.base import VcpuState
from kev.exits import Cpuid, CpuidResult

_ABSENT: Final = CpuidResult(0, 0, 0, 0)
_BRAND: Final = b"kev virtual CPU (emulated AMD-V)".ljust(48, b"\0")

# Leaf 1 (Intel SDM vol. 2, "CPUID"): what the engine executes and the machine has, and nothing else. No VMX, no AVX.
_SIGNATURE: Final = 0x000306C1  # family 6, model 0x3c, stepping 1
_ECX: Final = (
    1 << 0  # SSE3
    | 1 << 1  # PCLMULQDQ
    | 1 << 9  # SSSE3
    | 1 << 13  # CMPXCHG16B
    | 1 << 19  # SSE4.1
    | 1 << 20  # SSE4.2
    | 1 << 21  # x2APIC
    | 1 << 22  # MOVBE
    | 1 << 23  # POPCNT
    | 1 << 24  # TSC-deadline timer
    | 1 << 25  # AES
    | 1 << 30  # RDRAND
    | 1 << 31  # running under a hypervisor
)
_EDX: Final = 0x078BFBFF  # FPU VME DE PSE TSC MSR PAE MCE CX8 APIC SEP MTRR PGE MCA CMOV PAT PSE36 CLFLUSH MMX FXSR SSE SSE2
_APIC: Final = 1 << 9
_HTT: Final = 1 << 28

# Leaf 7: FSGSBASE BMI1 SMEP BMI2 RDSEED ADX SMAP CLFLUSHOPT CLWB; UMIP.
_EBX_7: Final = 1 << 0 | 1 << 3 | 1 << 7 | 1 << 8 | 1 << 18 | 1 << 19 | 1 << 20 | 1 << 23 | 1 << 24
_ECX_7: Final = 1 << 2

_EXTENDED_EDX: Final = 1 << 11 | 1 << 20 | 1 << 26 | 1 << 27 | 1 << 29  # SYSCALL NX 1-GiB pages RDTSCP long mode
_EXTENDED_ECX: Final = 1 << 0  # LAHF in 64-bit mode

TSC_HZ: Final = 1_000_000_000
_CRYSTAL_HZ: Final = 25_000_000


def _ascii(text: bytes) -> tuple[int, int, int]:
    return tuple(int.from_bytes(text[i : i + 4], "little") for i in (0, 4, 8))  # type: ignore[return-value]


def _brand(part: int) -> CpuidResult:
    return CpuidResult(*(int.from_bytes(_BRAND[i : i + 4], "little") for i in range(16 * part, 16 * part + 16, 4)))


def _fixed_leaves() -> dict[int, CpuidResult]:
    vendor = _ascii(b"GenuineIntel")  # in the order EBX EDX ECX
    hypervisor = _ascii(b"KVMKVMKVM\0\0\0")
    return {
        0: CpuidResult(0x16, vendor[0], vendor[2], vendor[1]),
        0x15: CpuidResult(1, TSC_HZ // _CRYSTAL_HZ, _CRYSTAL_HZ, 0),
        0x16: CpuidResult(TSC_HZ // 1_000_000, TSC_HZ // 1_000_000, 100, 0),
        # Paravirtual interface of KVM: clock sources 1 and 2, both stable.
        0x40000000: CpuidResult(0x40000001, *hypervisor),
        0x40000001: CpuidResult(1 << 0 | 1 << 3 | 1 << 24, 0, 0, 0),
        0x80000000: CpuidResult(0x80000008, 0, 0, 0),
        0x80000001: CpuidResult(0, 0, _EXTENDED_ECX, _EXTENDED_EDX),
        0x80000002: _brand(0),
        0x80000003: _brand(1),
        0x80000004: _brand(2),
        0x80000007: CpuidResult(0, 0, 0, 1 << 8),  # invariant TSC
        0x80000008: CpuidResult(0x3028, 0, 0, 0),  # 40 physical bits, 48 linear bits
    }


_FIXED: Final = _fixed_leaves()


class CpuidController:
    """Answers CPUID for a machine of `vcpus` processors in one package."""

    __slots__ = ("_has_apic", "_vcpus")

    def __init__(self, vcpus: int, has_apic: Callable[[int], bool]) -> None:
        """`has_apic(vcpu)`: the processor's local APIC is enabled in IA32_APIC_BASE; if not, it is as if there were none."""
        self._vcpus = vcpus
        self._has_apic = has_apic

    def handle(self, vcpu: VcpuState, exit: Cpuid) -> CpuidResult:
        leaf = exit.leaf
        if leaf == 1:
            return self._features(vcpu)
        if leaf == 7:
            return CpuidResult(0, _EBX_7, _ECX_7, 0) if exit.subleaf == 0 else _ABSENT
        if leaf == 0xB:
            return self._topology(vcpu, exit.subleaf)
        return _FIXED.get(leaf, _ABSENT)

    def _features(self, vcpu: VcpuState) -> CpuidResult:
        ebx = vcpu.index << 24 | self._vcpus << 16 | 8 << 8  # CLFLUSH size in units of 8 bytes
        edx = _EDX | (_HTT if self._vcpus > 1 else 0)
        return CpuidResult(_SIGNATURE, ebx, _ECX, edx if self._has_apic(vcpu.index) else edx & ~_APIC)

    def _topology(self, vcpu: VcpuState, subleaf: int) -> CpuidResult:
        """Extended topology: one thread a core, all cores in one package."""
        if subleaf == 0:
            return CpuidResult(0, 1, 1 << 8, vcpu.index)
        if subleaf == 1:
            return CpuidResult((self._vcpus - 1).bit_length(), self._vcpus, 2 << 8 | 1, vcpu.index)
        return CpuidResult(0, 0, subleaf, vcpu.index)
