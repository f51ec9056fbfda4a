"""CPUID: the processor that guests see. What they see of the hypervisor is said by their ABI (`kev.abi`)."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final, TypeAlias

from kev.engine.base import VcpuState
from kev.exits import Cpuid, CpuidResult

_Computed: TypeAlias = Callable[[VcpuState, int], CpuidResult]
"""A leaf of a vCPU and a subleaf."""

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
    | 1 << 23  # POPCNT
    | 1 << 24  # TSC-deadline timer
    | 1 << 25  # AES
    | 1 << 30  # RDRAND
)
_EDX: Final = 0x078BFBFF  # FPU VME DE PSE TSC MSR PAE MCE CX8 APIC SEP MTRR PGE MCA CMOV PAT PSE36 CLFLUSH MMX FXSR SSE SSE2
_APIC: Final = 1 << 9
_HTT: Final = 1 << 28
_CLFLUSH_SIZE: Final = 8  # in units of 8 bytes

# Leaf 7: FSGSBASE BMI1 SMEP BMI2 RDSEED ADX SMAP CLFLUSHOPT CLWB; UMIP.
_EBX_7: Final = 1 << 0 | 1 << 3 | 1 << 7 | 1 << 8 | 1 << 18 | 1 << 19 | 1 << 20 | 1 << 23 | 1 << 24
_ECX_7: Final = 1 << 2

_THREADS: Final = CpuidResult(0, 1, 1 << 8, 0)  # leaf 0xB: one a core

_EXTENDED_EDX: Final = 1 << 11 | 1 << 20 | 1 << 26 | 1 << 27 | 1 << 29  # SYSCALL NX 1-GiB pages RDTSCP long mode
_EXTENDED_ECX: Final = 1 << 0  # LAHF in 64-bit mode

TSC_HZ: Final = 1_000_000_000
_CRYSTAL_HZ: Final = 25_000_000


def _ascii(text: bytes) -> tuple[int, int, int]:
    return tuple(int.from_bytes(text[i : i + 4], "little") for i in (0, 4, 8))  # type: ignore[return-value]


def _brand(part: int) -> CpuidResult:
    return CpuidResult(*(int.from_bytes(_BRAND[i : i + 4], "little") for i in range(16 * part, 16 * part + 16, 4)))


def _processor_leaves() -> dict[int, CpuidResult]:
    vendor = _ascii(b"GenuineIntel")  # in the order EBX EDX ECX
    return {
        0: CpuidResult(0x16, vendor[0], vendor[2], vendor[1]),
        7: CpuidResult(0, _EBX_7, _ECX_7, 0),
        0x15: CpuidResult(1, TSC_HZ // _CRYSTAL_HZ, _CRYSTAL_HZ, 0),
        0x16: CpuidResult(TSC_HZ // 1_000_000, TSC_HZ // 1_000_000, 100, 0),
        0x80000000: CpuidResult(0x80000008, 0, 0, 0),
        0x80000001: CpuidResult(0, 0, _EXTENDED_ECX, _EXTENDED_EDX),
        0x80000002: _brand(0),
        0x80000003: _brand(1),
        0x80000004: _brand(2),
        0x80000007: CpuidResult(0, 0, 0, 1 << 8),  # invariant TSC
        0x80000008: CpuidResult(0x3028, 0, 0, 0),  # 40 physical bits, 48 linear bits
    }


_PROCESSOR: Final = _processor_leaves()


def machine_leaves(vcpus: int) -> dict[int, CpuidResult]:
    """The leaves of a machine of `vcpus` processors in one package: subleaf 0 of each, as vCPU 0 finds it at first."""
    features = CpuidResult(_SIGNATURE, vcpus << 16 | _CLFLUSH_SIZE << 8, _ECX, _EDX | (_HTT if vcpus > 1 else 0))
    return {**_PROCESSOR, 1: features, 0xB: _THREADS}


class CpuidController:
    """Answers CPUID with the leaves that a guest sees; fills in what differs between processors, subleaves and times."""

    __slots__ = ("_answers", "_has_apic", "_leaves", "_vcpus")

    def __init__(
        self,
        leaves: Mapping[int, CpuidResult],
        vcpus: int,
        has_apic: Callable[[int], bool],
        own: Mapping[int, Callable[[VcpuState], CpuidResult]],
    ) -> None:
        """`leaves`: those of `machine_leaves(vcpus)`, as the guest's ABI shows them. `own`: those that the ABI answers by itself.

        `has_apic(vcpu)`: the processor's local APIC is enabled in IA32_APIC_BASE; if not, it is as if there were none.
        """
        self._leaves: Final = leaves
        self._vcpus: Final = vcpus
        self._has_apic: Final = has_apic
        computed = {1: self._features, 7: self._structured_features, 0xB: self._topology}
        by_abi: dict[int, _Computed] = {leaf: partial(_without_subleaf, answer) for leaf, answer in own.items()}
        self._answers: Final[dict[int, CpuidResult | _Computed]] = {**leaves, **computed, **by_abi}

    def handle(self, state: VcpuState, exit: Cpuid) -> CpuidResult:
        answer = self._answers.get(exit.leaf, _ABSENT)
        return answer if isinstance(answer, CpuidResult) else answer(state, exit.subleaf)

    def _features(self, state: VcpuState, _subleaf: int) -> CpuidResult:
        found, vcpu = self._leaves[1], state.index
        edx = found.edx if self._has_apic(vcpu) else found.edx & ~_APIC
        return CpuidResult(found.eax, vcpu << 24 | found.ebx, found.ecx, edx)

    def _structured_features(self, _state: VcpuState, subleaf: int) -> CpuidResult:
        return _ABSENT if subleaf else self._leaves[7]

    def _topology(self, state: VcpuState, subleaf: int) -> CpuidResult:
        """Extended topology: one thread a core, all cores in one package."""
        vcpu = state.index
        if subleaf == 0:
            return CpuidResult(_THREADS.eax, _THREADS.ebx, _THREADS.ecx, vcpu)
        if subleaf == 1:
            return CpuidResult((self._vcpus - 1).bit_length(), self._vcpus, 2 << 8 | 1, vcpu)
        return CpuidResult(0, 0, subleaf, vcpu)


def _without_subleaf(answer: Callable[[VcpuState], CpuidResult], state: VcpuState, _subleaf: int) -> CpuidResult:
    return answer(state)
