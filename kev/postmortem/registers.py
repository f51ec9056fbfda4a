"""The registers of a vCPU at one moment."""

from typing import Any, Final, Self

import attrs

from kev import x86
from kev.engine.base import VcpuState
from kev.engine.registers import GENERAL, MSRS, SEGMENTS, DescriptorTable, FpuState, RaisedEvent, SegmentRegister

_CONTROL: Final = ("cr0", "cr2", "cr3", "cr4", "efer")
_CODE_32: Final = 1 << 14


@attrs.frozen(slots=True, kw_only=True)
class VcpuRegisters:
    """All that a vCPU holds. It is a `kev.page_tables.guest.PagingRegisters`, too."""

    index: int
    general: dict[str, int]
    """By the names in `GENERAL`."""
    rip: int
    """The offset into the code segment."""
    rflags: int
    segments: dict[str, SegmentRegister]
    """By the names in `kev.engine.registers.SEGMENTS`."""
    gdtr: DescriptorTable
    idtr: DescriptorTable
    cr0: int
    cr2: int
    cr3: int
    cr4: int
    efer: int
    cpl: int
    msrs: dict[int, int]
    """By number, those of `kev.engine.registers.MSRS`."""
    fpu: FpuState
    history: tuple[RaisedEvent, ...] = ()
    """The last exceptions and interrupts, the latest last."""

    @classmethod
    def read(cls, state: VcpuState) -> Self:
        """Those of a vCPU that is not executing."""
        return cls(
            index=state.index,
            general={name: getattr(state, name) for name in GENERAL},
            rip=state.rip,
            rflags=state.rflags,
            segments={name: state.segment(name) for name in SEGMENTS},
            gdtr=state.gdtr,
            idtr=state.idtr,
            cr0=state.cr0,
            cr2=state.cr2,
            cr3=state.cr3,
            cr4=state.cr4,
            efer=state.efer,
            cpl=state.cpl,
            msrs={index: state.read_msr(index) for index in MSRS},
            fpu=state.read_fpu(),
            history=tuple(state.history),
        )

    @property
    def linear_rip(self) -> int:
        """The linear address of the next instruction."""
        return self.linear("cs", self.rip)

    @property
    def bits(self) -> int:
        """16, 32 or 64: what the code that runs is made for."""
        access = self.segments["cs"].access
        if self.efer & x86.EFER_LMA and access & x86.SEGMENT_L:
            return 64
        return 32 if self.cr0 & x86.CR0_PE and access & _CODE_32 else 16

    @property
    def paging(self) -> bool:
        return bool(self.cr0 & x86.CR0_PG)

    def linear(self, segment: str, offset: int) -> int:
        """The linear address of an offset into a segment."""
        if self.efer & x86.EFER_LMA and self.segments["cs"].access & x86.SEGMENT_L:
            return offset + (self.segments[segment].base if segment in ("fs", "gs") else 0) & (1 << 64) - 1
        return self.segments[segment].base + offset & 0xFFFF_FFFF

    def as_dict(self) -> dict[str, Any]:
        """As JSON holds them: without those of the FPU."""
        return {
            **self.general,
            "rip": self.rip,
            "rflags": self.rflags,
            **{name: getattr(self, name) for name in _CONTROL},
            "cpl": self.cpl,
            **{name: self.segments[name]._asdict() for name in SEGMENTS},
            "gdtr": self.gdtr._asdict(),
            "idtr": self.idtr._asdict(),
            "msrs": {f"{index:#x}": value for index, value in self.msrs.items()},
        }
