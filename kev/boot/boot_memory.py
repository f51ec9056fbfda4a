"""Where a boot loader's additions to a kernel go: modules, and the information that tells of them."""

from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Final

from kev.addressing import MIB, Gpa, Gva, page_ceil, page_floor
from kev.boot.base import BootError, Module
from kev.boot.generated import place_generated, reaches_into
from kev.named_tuple import NamedTuple
from kev.pager.image import Segment
from kev.pager.kernel import KernelVmPager
from kev.pager.source import PageSource

_INFORMATION: Final = range(0x11000, 0x9F000)
"""Base memory that kernels map first and use last: above the pages where they start processors, below the EBDA and its stack.

It is above what real-mode code reaches with a selector of protected mode left in a segment register, too.
"""
_STACK: Final = range(0x7F000, 0x7FF00)
"""Where GRUB leaves ESP, for kernels that push before they have a stack of their own: Multiboot leaves it undefined."""


class PlacedModule(NamedTuple):
    """A module at the guest-physical addresses [start, end)."""

    start: Gpa
    end: Gpa
    text: str
    name_and_text: str
    """The string for kernels that look for their own arguments behind the name."""


class BootMemory:
    """Hands out pages that the image leaves free. What is placed there is loaded when it is touched, like the image."""

    def __init__(self, pager: KernelVmPager) -> None:
        self._pager: Final = pager
        self._next = page_ceil(max(pager.image.end, MIB))
        self._limit: int = pager.ram[0].stop

    def place_modules(self, modules: Sequence[Module]) -> list[PlacedModule]:
        """One behind the other, each at a page of its own above the image. BootError, by name, if one does not fit."""
        return [self._place_module(module) for module in modules]

    def place_high(self, modules: Sequence[Module], highest: int) -> range:
        """Places `modules` one behind the other, each at a multiple of 4, in the highest pages with no byte above `highest`.

        Returns where they lie: an empty range if there is nothing. BootError if they do not fit.
        """
        offsets = [0, *accumulate(module.source.size + -module.source.size % 4 for module in modules)]
        size = offsets[-1]
        if not size:
            return range(0)
        start = page_floor(min(self._limit, highest + 1) - size)
        if start < self._next:
            raise BootError(f"module {modules[0].name!r}: the {size:#x} bytes of all modules {self._no_room}")
        for module, offset in zip(modules, offsets, strict=False):
            self._register(start + offset, module.source, 0, module.source.size)
        self._limit = start
        return range(start, start + size)

    def place_part(self, source: PageSource, offset: int, size: int) -> Gpa | None:
        """Places `size` bytes of `source`, from `offset` on, at a page of their own; None if they do not fit."""
        start = self._take(size)
        if start is not None:
            self._register(start, source, offset, size)
        return start

    def _register(self, start: int, source: PageSource, offset: int, size: int) -> None:
        if size:
            self._pager.load_phdr(Segment(Gpa(start), Gva(start), offset, size, size), source)

    @property
    def stack(self) -> Gpa:
        """Where a kernel's first stack begins, growing down; 0 if there is no RAM. No information is placed in it."""
        return Gpa(_STACK.stop if _STACK.stop <= self._limit else 0)

    def place_information(self, build: Callable[[Gpa], bytes]) -> Gpa:
        """Places what `build` makes for an address of page alignment, which must be of the same size for every address.

        It goes into base memory if there is room, else above the image. BootError if there is none either.
        """
        size = len(build(Gpa(0)))
        start = self._find_base_memory(size)
        if start is None:
            start = self._take(size)
        if start is None:
            raise BootError(f"{self._pager.image.source.name}: {size:#x} bytes of boot information {self._no_room}")
        contents = build(start)
        place_generated(self._pager, start, size, lambda: contents)
        return start

    def _place_module(self, module: Module) -> PlacedModule:
        size = module.source.size
        start = self.place_part(module.source, 0, size)
        if start is None:
            raise BootError(f"module {module.name!r}: its {size:#x} bytes {self._no_room}")
        return PlacedModule(start, Gpa(start + size), module.text, module.name_and_text)

    @property
    def _no_room(self) -> str:
        return f"do not fit: what is placed already reaches up to {self._next:#x}, and RAM below the devices to {self._limit:#x}"

    def _take(self, size: int) -> Gpa | None:
        start = self._next
        if start + size > self._limit:
            return None
        self._next = page_ceil(start + size)
        return Gpa(start)

    def _find_base_memory(self, size: int) -> Gpa | None:
        segments = self._pager.image.segments
        end = min(_INFORMATION.stop, self._limit)
        for start in (_INFORMATION.start, *(page_ceil(segment.end) for segment in segments), page_ceil(_STACK.stop)):
            wanted = range(start, start + size)
            is_stack = start < _STACK.stop and _STACK.start < wanted.stop
            fits = start in _INFORMATION and wanted.stop <= end and not is_stack
            if fits and not any(reaches_into(segment, wanted) for segment in segments):
                return Gpa(start)
        return None
