"""Who may use which I/O port (Intel SDM vol. 1, "Protection and I/O")."""

from typing import Final

from kev.engine.amdv import layout
from kev.engine.amdv.linear import LinearMemory
from kev.engine.amdv.vcpu import TR, AmdvVcpu
from kev.page_tables.guest import GuestFault
from kev.x86 import RFLAGS_IOPL_SHIFT, RFLAGS_VM

_TSS_TYPES: Final = frozenset({0x9, 0xB})  # 32-bit or 64-bit TSS, available or busy
_MAP_BASE: Final = 0x66  # where the TSS says where its I/O permission map begins
_SMALLEST_LIMIT: Final = 0x67


def may_access_port(vcpu: AmdvVcpu, memory: LinearMemory, port: int, size: int) -> bool:
    """Whether the current privilege level, or the task's I/O permission map, allow an access of `size` bytes to `port`.

    AwaitedPage if the map has to be awaited.
    """
    rflags = vcpu.words[layout.RFLAGS >> 2]
    privileged = vcpu.cpl <= (rflags >> RFLAGS_IOPL_SHIFT & 3) and not rflags & RFLAGS_VM
    return privileged or not vcpu.protected_mode or _is_mapped(vcpu, memory, port, size)


def _is_mapped(vcpu: AmdvVcpu, memory: LinearMemory, port: int, size: int) -> bool:
    _, base, limit, flags = vcpu.raw_segment(TR)
    if flags >> 8 & 0xF not in _TSS_TYPES or limit < _SMALLEST_LIMIT:
        return False
    try:
        offset = _word(vcpu, memory, base + _MAP_BASE) + port // 8
        return offset + 1 <= limit and not _word(vcpu, memory, base + offset) >> port % 8 & (1 << size) - 1
    except GuestFault:
        return False


def _word(vcpu: AmdvVcpu, memory: LinearMemory, gva: int) -> int:
    return int.from_bytes(memory.read(vcpu, gva, 2), "little")
