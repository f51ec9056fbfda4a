"""Guest memory by linear address, as the CPU would reach it: through the guest's tables and the nested ones."""

from collections.abc import Callable, Iterator
from typing import Final

from kev.addressing import PAGE_MASK, PAGE_SHIFT, PAGE_SIZE, Gpa, page_offset
from kev.engine.amdv import layout
from kev.engine.amdv.decode import LONGEST_INSTRUCTION, prefixes_length
from kev.engine.amdv.vcpu import IDTR, SS, AmdvVcpu
from kev.exits import Access, EptViolation, Reply
from kev.host_memory import HostMemory
from kev.named_tuple import NamedTuple
from kev.page_tables.guest import GuestFault, translate
from kev.page_tables.table import PageTable
from kev.x86 import EFER_SVME

_SS_DEFAULT_SIZE_32: Final = 1 << 22
"""The B flag, in a descriptor's second word."""
_GATE_16_BIT: Final = frozenset({6, 7})  # types of 286 interrupt and trap gates
_MOST_WALKS: Final = 256
_USUAL_OPCODES: Final = frozenset({0x0F, 0xF4})
"""The first bytes of what exits, mostly."""
_CR0: Final = layout.CONTROL_REGISTERS >> 3
_CR3, _CR4, _EFER = _CR0 + 3, _CR0 + 4, layout.EFER >> 3


def _nobody_cares(_hpa: int) -> None:
    """Stands in until somebody wants to be told."""


class AwaitedPage(Exception):
    """A page on the way has to be awaited."""

    def __init__(self, violation: EptViolation) -> None:
        super().__init__(str(violation))
        self.violation = violation


class _Walk(NamedTuple):
    """A translation with all that it was made from. It holds as long as that is the same."""

    registers: tuple[int, int, int, int]
    """CR0, CR3, CR4 and EFER."""
    indices: tuple[int, ...]
    """Of the words of host-physical memory that hold the guest's entries."""
    words: tuple[int, ...]
    """What those words were."""
    page: int
    """The host-physical address of the page."""
    gpa: int
    """Its guest-physical address."""


def stack_slot(vcpu: AmdvVcpu, width: int) -> tuple[int, int]:
    """Where a push of `width` bytes goes, as a linear address, and what RSP is behind it."""
    _, base, _, flags = vcpu.raw_segment(SS)
    if vcpu.long_mode:
        base, mask = 0, 0xFFFF_FFFF_FFFF_FFFF
    else:
        mask = 0xFFFF_FFFF if flags & _SS_DEFAULT_SIZE_32 else 0xFFFF
    stack_pointer = vcpu.rsp - width & mask
    return base + stack_pointer, vcpu.rsp & ~mask | stack_pointer


class LinearMemory:
    """What the hypervisor itself reads and writes by linear address: instructions, gates, error codes.

    An exception needs the same few pages as the one before. So walks are kept, and made again only where one of the guest's entries
    has changed: that takes a tenth of the time. Changes of the nested tables come with `forget`.
    """

    __slots__ = ("_ask", "_entries", "_is_answered_quietly", "_loads", "_memory", "_table", "_walks", "stored")

    def __init__(
        self,
        memory: HostMemory,
        table: PageTable,
        ask: Callable[[EptViolation], Reply | None],
        is_answered_quietly: Callable[[EptViolation], bool],
    ) -> None:
        """`ask` is told of pages that are not mapped, as the CPU would tell; if no page may be loaded, `is_answered_quietly` is."""
        self._memory = memory
        self._table = table
        self._ask = ask
        self._is_answered_quietly = is_answered_quietly
        self._loads = True
        self.stored: Callable[[int], None] = _nobody_cares
        """Called behind every write, with its host-physical address."""
        self._walks: Final[dict[int, _Walk]] = {}
        self._entries: Final[dict[int, int]] = {}  # of the last walk: words by index

    def forget(self) -> None:
        """A nested mapping was removed or narrowed."""
        self._walks.clear()

    def look_up(self, vcpu: AmdvVcpu, gva: int) -> Gpa | None:
        """The guest-physical address behind `gva`, permissions aside; None if the guest's tables or their pages are not there."""
        try:
            return translate(self._read_entry, vcpu, gva)
        except (GuestFault, AwaitedPage):
            return None

    def frame(self, vcpu: AmdvVcpu, gva: int) -> int | None:
        """The host-physical address of the page that holds `gva`, permissions aside; None if it is not there."""
        self._loads = False
        try:
            return self._page(vcpu, gva, for_write=False)
        except (GuestFault, AwaitedPage):
            return None
        finally:
            self._loads = True

    def frame_and_gpa(self, vcpu: AmdvVcpu, gva: int) -> tuple[int, int] | None:
        """The same, and the page's guest-physical address."""
        self._loads = False
        try:
            walk = self._walk_to(vcpu, gva, for_write=False)
            return walk.page, walk.gpa
        except (GuestFault, AwaitedPage):
            return None
        finally:
            self._loads = True

    def frame_and_entries(self, vcpu: AmdvVcpu, gva: int) -> tuple[int | None, list[int]]:
        """The same, and where the guest's table entries on the way lie, as far as they are there: host-physical, 8 bytes each."""
        frame = self.frame(vcpu, gva)
        indices = self._entries if frame is None else self._walks[gva >> PAGE_SHIFT << 1].indices
        return frame, [index << 3 for index in indices]

    def peek(self, vcpu: AmdvVcpu, gva: int, length: int) -> bytes:
        """Bytes at `gva`, as far as they are there; nothing is loaded for them."""
        found = b""
        self._loads = False
        try:
            if page_offset(gva) + length <= PAGE_SIZE:
                hpa = self._page(vcpu, gva, for_write=False) | page_offset(gva)
                return bytes(self._memory.view[hpa : hpa + length])
            for hpa, size in self._pieces(vcpu, gva, length, for_write=False):
                found += self._memory.view[hpa : hpa + size]
        except (GuestFault, AwaitedPage):
            pass
        finally:
            self._loads = True
        return found

    def prefixes_length(self, vcpu: AmdvVcpu) -> int:
        """How many bytes of prefixes the instruction at RIP has, which the CPU has just begun to execute."""
        address, quads = vcpu.instruction_address, vcpu.quads
        walk = self._walks.get(address >> PAGE_SHIFT << 1)
        # As `peek`, in a third of its time: nearly all that exits has none. Of the guest's entries, the last is compared, where the
        # code lies: whoever changes another of its own below its feet has RIP in the middle of an instruction at worst.
        if (
            walk is not None
            and walk.registers == (quads[_CR0], quads[_CR3], quads[_CR4], quads[_EFER] & ~EFER_SVME)
            and (not walk.indices or walk.words[-1] == self._memory.words[walk.indices[-1]])
            and self._memory.view[walk.page | address & PAGE_MASK] in _USUAL_OPCODES
        ):
            return 0
        return prefixes_length(self.peek(vcpu, address, LONGEST_INSTRUCTION), in_64_bit_mode=vcpu.in_64_bit_mode)

    def read(self, vcpu: AmdvVcpu, gva: int, length: int) -> bytes:
        """The bytes at `gva`. GuestFault if the guest maps nothing there, AwaitedPage if a page has to be awaited."""
        return b"".join(self._memory.view[hpa : hpa + size] for hpa, size in self._pieces(vcpu, gva, length, for_write=False))

    def is_device(self, gpa: int) -> bool:
        """A device stands behind `gpa`, and its page has been mapped."""
        hpa = self._table.translate(gpa)
        return hpa is not None and hpa >= self._memory.size

    def gate_privilege_level(self, vcpu: AmdvVcpu, vector: int) -> int | None:
        """The DPL of a vector's gate in the IDT; None in real mode, or if there is no such gate. AwaitedPage."""
        gate = self._gate(vcpu, vector)
        return None if gate is None else gate[5] >> 5 & 3

    def push(self, vcpu: AmdvVcpu, vector: int, error_code: int) -> None:
        """Pushes an error code onto the stack of the handler that is about to run.

        GuestFault if the guest's tables do not allow it, AwaitedPage if the stack's page has to be awaited. Nothing has
        changed then.
        """
        width = self._frame_width(vcpu, vector)
        address, rsp = stack_slot(vcpu, width)
        self.write(vcpu, address, error_code.to_bytes(width, "little"))
        vcpu.rsp = rsp

    def _gate(self, vcpu: AmdvVcpu, vector: int) -> bytes | None:
        size = 16 if vcpu.long_mode else 8
        _, base, limit, _ = vcpu.raw_segment(IDTR)
        if not vcpu.protected_mode or (vector + 1) * size - 1 > limit:
            return None
        try:
            return self.read(vcpu, base + vector * size, 8)
        except GuestFault:
            return None

    def _frame_width(self, vcpu: AmdvVcpu, vector: int) -> int:
        """The size of a stack slot in the frame of this vector's gate, in bytes."""
        if vcpu.long_mode:
            return 8
        gate = self._gate(vcpu, vector)
        return 2 if gate is not None and gate[5] & 0xF in _GATE_16_BIT else 4

    def write(self, vcpu: AmdvVcpu, gva: int, data: bytes) -> None:
        """Writes at `gva` as the kernel would; GuestFault or AwaitedPage before anything changes."""
        pieces = list(self._pieces(vcpu, gva, len(data), for_write=True))
        done = 0
        for hpa, size in pieces:
            self._memory.view[hpa : hpa + size] = data[done : done + size]
            self.stored(hpa)
            done += size

    def _pieces(self, vcpu: AmdvVcpu, gva: int, length: int, *, for_write: bool) -> Iterator[tuple[int, int]]:
        """Where the bytes lie, page by page: host-physical addresses and lengths. For reading, permissions do not count."""
        end = gva + length
        while gva < end:
            size = min(end - gva, PAGE_SIZE - page_offset(gva))
            yield self._page(vcpu, gva, for_write) | page_offset(gva), size
            gva += size

    def _page(self, vcpu: AmdvVcpu, gva: int, for_write: bool) -> int:
        """The host-physical address of the page that holds `gva`."""
        return self._walk_to(vcpu, gva, for_write).page

    def _walk_to(self, vcpu: AmdvVcpu, gva: int, for_write: bool) -> _Walk:
        registers = vcpu.cr0, vcpu.cr3, vcpu.cr4, vcpu.efer
        key = gva >> PAGE_SHIFT << 1 | for_write
        walk = self._walks.get(key)
        if walk is None or walk.registers != registers or walk.words != self._read_words(walk.indices):
            gpa, page = self._walk(vcpu, gva, for_write)
            if len(self._walks) == _MOST_WALKS:
                self._walks.clear()
            walk = self._walks[key] = _Walk(registers, tuple(self._entries), tuple(self._entries.values()), page, gpa)
        return walk

    def _read_words(self, indices: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(map(self._memory.words.__getitem__, indices))

    def _walk(self, vcpu: AmdvVcpu, gva: int, for_write: bool) -> tuple[int, int]:
        """The guest- and the host-physical address of the page."""
        self._entries.clear()
        gpa = translate(self._read_entry, vcpu, gva, Access.WRITE if for_write else None)
        return gpa & ~PAGE_MASK, self._locate(gpa, Access.WRITE if for_write else Access.READ) & ~PAGE_MASK

    def _read_entry(self, gpa: int, size: int) -> int:
        hpa = self._locate(gpa, Access.READ)
        word = self._entries[hpa >> 3] = self._memory.words[hpa >> 3]
        return word if size == 8 else word >> 8 * (hpa & 4) & 0xFFFF_FFFF

    def _locate(self, gpa: int, access: Access) -> int:
        hpa = self._table.translate(gpa, access)
        if hpa is None:
            violation = EptViolation(Gpa(gpa), access)
            if not (self._ask(violation) is not None if self._loads else self._is_answered_quietly(violation)):
                raise AwaitedPage(violation)
            hpa = self._table.translate(gpa, access)
        if hpa is None or hpa >= self._memory.size:
            raise AwaitedPage(EptViolation(Gpa(gpa), access))
        return hpa
