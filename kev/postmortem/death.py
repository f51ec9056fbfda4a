"""What a person needs to know about a guest that died: the state of its vCPUs, put into words."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

import attrs

from kev import x86
from kev.engine.registers import GENERAL
from kev.exits import Access
from kev.pager.kernel import KernelVmPager
from kev.postmortem.at_end import VcpuAtEnd, line_of, place_of
from kev.postmortem.backtrace import Backtrace, backtrace
from kev.postmortem.code_bytes import CodeBytes, code_bytes
from kev.postmortem.exceptions import ExceptionAt, exception_at, why_not_delivered
from kev.postmortem.loaded_memory import LoadedMemory
from kev.postmortem.page_state import DeviceAt
from kev.postmortem.places import Place, Places
from kev.postmortem.registers import VcpuRegisters
from kev.postmortem.walk import Walk, walk

_MOST_EXCEPTIONS: Final = 4
_LONGEST_INSTRUCTION: Final = 15
_MOST_LINES_OF_FRAMES: Final = 10
_MOST_FRAMES_OF_OTHERS: Final = 4
_FLAGS: Final = {
    0: "CF",
    2: "PF",
    4: "AF",
    6: "ZF",
    7: "SF",
    8: "TF",
    9: "IF",
    10: "DF",
    11: "OF",
    14: "NT",
    16: "RF",
    17: "VM",
    18: "AC",
}


@attrs.frozen(slots=True, kw_only=True)
class VcpuDeath:
    """One vCPU at the end."""

    activity: str
    """What it was doing, in words: such as active, or halted."""
    started: bool
    """It has run: else nothing else means anything."""
    registers: VcpuRegisters
    place: Place
    exceptions: tuple[ExceptionAt, ...]
    """The last, the latest last; interrupts too."""
    undelivered: tuple[str, ...]
    """Why exceptions could not be delivered, if that is what it died of."""
    backtrace: Backtrace
    code: CodeBytes
    walk: Walk | None
    """Of the address of the page fault that it died of, or of RIP if nothing can be read there."""

    @property
    def line(self) -> str:
        """`vCPU 0 at RIP 0x100a3c in main+0x12 (main.c:34)`, and what else it was doing."""
        at_end = VcpuAtEnd(registers=self.registers, activity=self.activity, started=self.started)
        return line_of(at_end, self.place)

    def as_text(self) -> list[str]:
        """About 40 lines at most."""
        registers = self.registers
        lines = [f"vCPU {registers.index}, {self.activity}, {registers.bits}-bit code at CPL {registers.cpl}:"]
        lines += _indented(_register_lines(registers))
        lines += _section("exceptions and interrupts, the last one last:", _exception_lines(self.exceptions))
        lines += _section("not delivered, because", list(self.undelivered))
        lines += _section("code:", self.code.as_text())
        if self.walk is not None:
            lines += _section("page tables:", self.walk.as_text())
        return lines + _section("backtrace:", _shortened(self.backtrace.as_text(), _MOST_LINES_OF_FRAMES))

    def as_short_text(self) -> list[str]:
        """Its line, and the first of its frames."""
        if not self.started:
            return [self.line]
        frames = _shortened(self.backtrace.as_text()[1:], _MOST_FRAMES_OF_OTHERS)
        return [self.line, *_indented(frames)]

    def as_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        if not self.started:
            return {"vcpu": self.registers.index, "activity": self.activity, "started": False}
        return {
            "vcpu": self.registers.index,
            "activity": self.activity,
            "started": True,
            "bits": self.registers.bits,
            "place": self.place.as_dict(),
            "registers": self.registers.as_dict(),
            "exceptions": [exception.as_dict() for exception in self.exceptions],
            "undelivered": list(self.undelivered),
            "backtrace": self.backtrace.as_dict(),
            "code": self.code.as_dict(),
            "walk": None if self.walk is None else self.walk.as_dict(),
        }


@attrs.frozen(slots=True, kw_only=True)
class Death:
    """A guest at the end of its run."""

    vcpus: tuple[VcpuDeath, ...]
    culprit: int | None
    """The vCPU that did what ended the run; None if it is no vCPU's doing, as with a timeout."""
    notes: tuple[str, ...]
    """What could not be found out, and why."""

    def as_text(self) -> str:
        """The culprit in full, or the only vCPU; the others in a few lines each."""
        lines = []
        for vcpu in self.vcpus:
            in_full = vcpu.registers.index == self.culprit or len(self.vcpus) == 1
            lines += vcpu.as_text() if in_full else vcpu.as_short_text()
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])

    def as_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {"culprit": self.culprit, "notes": list(self.notes), "vcpus": [vcpu.as_dict() for vcpu in self.vcpus]}


def describe_death(
    pager: KernelVmPager,
    places: Places,
    vcpus: Sequence[VcpuAtEnd],
    *,
    culprit: int | None = None,
    device_at: DeviceAt | None = None,
) -> Death:
    """Finds out what there is to know. Nothing of the guest changes, and nothing is loaded."""
    memory = LoadedMemory(pager)
    found = tuple(_describe_vcpu(pager, memory, places, vcpu, device_at) for vcpu in vcpus)
    return Death(vcpus=found, culprit=culprit, notes=tuple(places.notes))


def _describe_vcpu(
    pager: KernelVmPager, memory: LoadedMemory, places: Places, vcpu: VcpuAtEnd, device_at: DeviceAt | None
) -> VcpuDeath:
    registers = vcpu.registers
    exceptions = tuple(_exception(memory, places, registers, number) for number in range(len(registers.history)))
    code = code_bytes(memory, registers)
    fault = next((exception for exception in reversed(exceptions) if exception.address is not None), None)
    tables: Walk | None = None
    if vcpu.triple_fault and fault is not None and fault.address is not None:
        access, user = _access(fault.error_code or 0)
        tables = walk(pager, registers, fault.address, access, user=user, device_at=device_at)
    elif vcpu.started and not code.code:
        tables = walk(pager, registers, registers.linear_rip, Access.EXECUTE, user=registers.cpl == 3, device_at=device_at)
    return VcpuDeath(
        activity=vcpu.activity,
        started=vcpu.started,
        registers=registers,
        place=place_of(pager, places, registers, halted=vcpu.halted),
        exceptions=exceptions,
        undelivered=tuple(_undelivered(memory, registers, exceptions)) if vcpu.triple_fault else (),
        backtrace=backtrace(memory, places, registers, halted=vcpu.halted) if vcpu.started else Backtrace((), None),
        code=code,
        walk=tables,
    )


def _exception(memory: LoadedMemory, places: Places, registers: VcpuRegisters, number: int) -> ExceptionAt:
    event = registers.history[number]
    if event.rip is None:
        return exception_at(event, None)
    address = registers.linear("cs", event.rip)
    return exception_at(event, places.at(address, memory.try_translate(registers, address)))


def _undelivered(memory: LoadedMemory, registers: VcpuRegisters, exceptions: Sequence[ExceptionAt]) -> list[str]:
    """Of the exceptions that ended in the triple fault, why each could not be delivered, a reason once."""
    vectors = [exception.vector for exception in _of_the_same_instruction(exceptions[-3:])]
    if x86.DOUBLE_FAULT not in vectors:
        vectors.append(x86.DOUBLE_FAULT)
    reasons = [why_not_delivered(memory, registers, vector) for vector in dict.fromkeys(vectors)]
    return list(dict.fromkeys(reason for reason in reasons if reason is not None))


def _of_the_same_instruction(exceptions: Sequence[ExceptionAt]) -> Iterator[ExceptionAt]:
    """Without those before the last one's instruction, which were delivered; that of INT is noted at the instruction behind it."""
    places = [exception.place for exception in exceptions if exception.place is not None]
    for exception in exceptions:
        if exception.place is not None and 0 <= exception.place.address - places[-1].address <= _LONGEST_INSTRUCTION:
            yield exception


def _access(error_code: int) -> tuple[Access, bool]:
    """What a page fault was about, and whether at CPL 3."""
    user = bool(error_code & x86.PAGE_FAULT_USER)
    if error_code & x86.PAGE_FAULT_FETCH:
        return Access.EXECUTE, user
    return Access.WRITE if error_code & x86.PAGE_FAULT_WRITE else Access.READ, user


# Text.


def _register_lines(registers: VcpuRegisters) -> list[str]:
    """Six to nine lines."""
    wide = registers.bits == 64
    names = GENERAL if wide else GENERAL[:8]
    digits = 16 if wide else 8
    cells = [f"{_name(name, wide):>3} {registers.general[name] & (1 << 4 * digits) - 1:0{digits}x}" for name in names]
    lines = ["  ".join(cells[start : start + 4]) for start in range(0, len(cells), 4)]
    flags = " ".join(name for bit, name in _FLAGS.items() if registers.rflags >> bit & 1)
    lines.append(f"{_name('rip', wide)} {registers.rip:0{digits}x}  flags {registers.rflags:#x} {flags}".rstrip())
    lines.append("  ".join(_segment(registers, name) for name in ("cs", "ss", "ds", "es", "fs", "gs")))
    control = [f"{name} {getattr(registers, name):#x}" for name in ("cr0", "cr2", "cr3", "cr4", "efer")]
    lines.append("  ".join(control))
    tables = [
        f"{name} {table.base:#x} limit {table.limit:#x}" for name, table in (("gdt", registers.gdtr), ("idt", registers.idtr))
    ]
    lines.append("  ".join([*tables, f"tr {registers.segments['tr'].selector:04x}"]))
    return lines


def _name(name: str, wide: bool) -> str:
    return name if wide else name.replace("r", "e", 1)


def _segment(registers: VcpuRegisters, name: str) -> str:
    segment = registers.segments[name]
    return f"{name} {segment.selector:04x}" + (f" base {segment.base:#x}" if segment.base else "")


def _exception_lines(exceptions: Sequence[ExceptionAt]) -> list[str]:
    lines = []
    for exception in exceptions[-_MOST_EXCEPTIONS:]:
        lines.append(exception.text)
        if exception.place is not None:
            lines.append(f"  in {exception.place}")
    return lines


def _shortened(lines: list[str], most: int) -> list[str]:
    return lines if len(lines) <= most else [*lines[: most - 1], f"... {len(lines) - most + 1} more"]


def _section(title: str, lines: list[str]) -> list[str]:
    return _indented([title, *_indented(lines)]) if lines else []


def _indented(lines: list[str]) -> list[str]:
    return [f"  {line}" for line in lines]
