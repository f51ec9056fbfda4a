"""A pager whose guest has written its memory, and vCPUs in any state."""

from collections.abc import Mapping, Sequence
from typing import Any

from kev.addressing import MIB, PAGE_SIZE, Gpa, page_floor, page_offset
from kev.engine.registers import GENERAL, SEGMENTS, DescriptorTable, FpuState, RaisedEvent, SegmentRegister
from kev.pager.kernel import KernelVmPager
from kev.postmortem.registers import VcpuRegisters
from tests.pager.machine import build_pager, guest_page, touch

RAM = 4 * MIB
CODE_16, CODE_32, CODE_64 = 0x009B, 0xC09B, 0xA09B
DATA = 0xC093
PE, PG = 1, 1 << 31
LMA = 0x500


def pager_with(contents: Mapping[int, bytes] | None = None, **pager: Any) -> KernelVmPager:
    """A pager in which the pages of `contents` are Present, by guest-physical address."""
    built = build_pager(**pager)
    for gpa, data in (contents or {}).items():
        write(built, gpa, data)
    return built


def write(pager: KernelVmPager, gpa: int, data: bytes) -> None:
    """Puts bytes into guest memory; the pages become Present."""
    while data:
        page, offset = page_floor(gpa), page_offset(gpa)
        if pager.gpa2hpa(Gpa(page)) is None:
            assert touch(pager, page)
        part = data[: PAGE_SIZE - offset]
        guest_page(pager, page)[offset : offset + len(part)] = part
        gpa, data = gpa + len(part), data[len(part) :]


def words(*values: int, size: int = 8) -> bytes:
    return b"".join(value.to_bytes(size, "little") for value in values)


def vcpu(
    *,
    bits: int = 64,
    rip: int = 0,
    cr0: int | None = None,
    cr3: int = 0,
    cr4: int = 0,
    efer: int | None = None,
    cpl: int = 0,
    idt: tuple[int, int] = (0, 0),
    gdt: tuple[int, int] = (0, 0xFFFF),
    bases: Mapping[str, int] | None = None,
    history: Sequence[RaisedEvent] = (),
    index: int = 0,
    **general: int,
) -> VcpuRegisters:
    """A vCPU in code of so many bits. Without a `cr0`, paging is off: also in 64-bit code, which no processor allows."""
    code = {16: CODE_16, 32: CODE_32, 64: CODE_64}[bits]
    segments = {}
    for name in SEGMENTS:
        base = (bases or {}).get(name, 0)
        selector, access = (8 | cpl, code) if name == "cs" else (16 | cpl, DATA)
        segments[name] = SegmentRegister(selector, base, 0xFFFF_FFFF, access)
    return VcpuRegisters(
        index=index,
        general={name: general.get(name, 0) for name in GENERAL},
        rip=rip,
        rflags=2,
        segments=segments,
        gdtr=DescriptorTable(*gdt),
        idtr=DescriptorTable(*idt),
        cr0=(0 if bits == 16 else PE) if cr0 is None else cr0,
        cr2=0,
        cr3=cr3,
        cr4=cr4,
        efer=(LMA if bits == 64 else 0) if efer is None else efer,
        cpl=cpl,
        msrs={},
        fpu=FpuState(),
        history=tuple(history),
    )
