"""Who called whom: the frames on a vCPU's stack, found without changing or loading anything.

A frame's caller is found by call frame information where the image has any for its code, else by frame pointers. Where an interrupt
or exception came in between, what the CPU pushed says what it interrupted.
"""

from typing import Any, Final

import attrs

from kev.postmortem.loaded_memory import LoadedMemory, Unreadable
from kev.postmortem.places import Place, Places
from kev.postmortem.registers import VcpuRegisters
from kev.postmortem.unwind_table import FrameRule, UnwindTable

MOST_FRAMES: Final = 64
_LARGEST_FRAME: Final = 1 << 20
"""Bytes between a stack pointer and the frame pointer above it."""
_SEARCHED_WORDS: Final = 64
"""Above the stack pointer, for what an interrupt pushed."""
_PUSH_FRAME_POINTER: Final = b"\x55"

_NUMBERS_64: Final = (
    *("rax", "rdx", "rcx", "rbx", "rsi", "rdi", "rbp", "rsp"),
    *("r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"),
)
_NUMBERS_32: Final = ("rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi")
"""DWARF's numbers of registers (System V ABI)."""

_FLAGS_SET: Final = 1 << 1
_FLAGS_CLEAR: Final = ~0x3F7FD7 | 1 << 3 | 1 << 5 | 1 << 15
"""Bits of RFLAGS that are always 1, and always 0."""


@attrs.frozen(slots=True, kw_only=True)
class Frame:
    """One function that has not returned."""

    address: int
    """Linear, of its next instruction."""
    place: Place
    stack: int
    """Its stack pointer, linear."""
    interrupted: bool = False
    """An interrupt or exception came in between this frame and the one above it."""
    user: bool = False
    """It is a program's, at CPL 3."""

    def as_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {
            **self.place.as_dict(),
            "address": self.address,
            "stack": self.stack,
            "interrupted": self.interrupted,
            "user": self.user,
        }


@attrs.frozen(slots=True)
class Backtrace:
    """The frames, the innermost first, and why there are no more."""

    frames: tuple[Frame, ...]
    stopped: str | None
    """None if the last frame has no caller."""

    def as_text(self) -> list[str]:
        """A line for each frame; another where an interrupt came in between, and where something is missing."""
        lines = []
        for number, frame in enumerate(self.frames):
            if frame.interrupted:
                lines.append("--- interrupt or exception ---")
            user = " (user)" if frame.user else ""
            lines.append(f"#{number:<2} {frame.address:#x} {frame.place.text or '?'}{user}")
        if self.stopped is not None:
            lines.append(f"no more: {self.stopped}")
        return lines

    def as_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {"frames": [frame.as_dict() for frame in self.frames], "stopped": self.stopped}


class _Stop(Exception):
    """There is no frame to be found above. Without a message: there is none."""


@attrs.frozen(slots=True)
class _Registers:
    """What is known of the registers in a frame. Addresses are offsets into segments, as the code sees them."""

    rip: int
    general: dict[str, int]
    exact: bool
    """`rip` is where the code was, and not what a call returns to, nor behind a HLT."""
    interrupted: bool = False
    user: bool = False


def backtrace(memory: LoadedMemory, places: Places, registers: VcpuRegisters, *, halted: bool = False) -> Backtrace:
    """The frames of a vCPU, `MOST_FRAMES` of them at most. `halted`: it is in the HLT that RIP is behind."""
    return _Unwinder(memory, places, registers, halted=halted).run()


class _Unwinder:
    def __init__(self, memory: LoadedMemory, places: Places, registers: VcpuRegisters, *, halted: bool) -> None:
        self._halted: Final = halted
        self._memory: Final = memory
        self._places: Final = places
        self._vcpu: Final = registers
        self._word: Final = registers.bits // 8
        self._mask: Final = (1 << registers.bits) - 1
        self._table: UnwindTable | None = None

    def run(self) -> Backtrace:
        general = {name: value & self._mask for name, value in self._vcpu.general.items()}
        current = _Registers(self._vcpu.rip & self._mask, general, exact=not self._halted, user=self._vcpu.cpl == 3)
        frames: list[Frame] = []
        seen: set[tuple[int, int]] = set()
        stopped: str | None = f"there are more than {MOST_FRAMES}"
        while len(frames) < MOST_FRAMES:
            frames.append(self._frame(current))
            key = current.rip, current.general["rsp"]
            if key in seen:
                stopped = "the frames go round in a circle"
                break
            seen.add(key)
            try:
                current = self._caller(current)
            except _Stop as stop:
                stopped = str(stop) or None
                break
            except Unreadable as unreadable:
                stopped = str(unreadable)
                break
        return Backtrace(tuple(frames), stopped)

    def _frame(self, current: _Registers) -> Frame:
        address = self._vcpu.linear("cs", current.rip)
        gpa = self._memory.try_translate(self._vcpu, address)
        place = self._places.at(address, gpa) if current.exact else self._places.before(address, gpa)
        stack = self._vcpu.linear("ss", current.general["rsp"])
        return Frame(address=address, place=place, stack=stack, interrupted=current.interrupted, user=current.user)

    def _caller(self, current: _Registers) -> _Registers:
        if current.user and self._vcpu.cpl != 3:
            # Its registers are not known, but for those that the interrupt has saved.
            raise _Stop
        rule = self._rule(current)
        if rule is not None and rule.cfa_register >= 0:
            by_rule = self._by_rule(current, rule)
            if by_rule is not None:
                return by_rule
        return self._at_entry(current) or self._by_frame_pointer(current)

    # Call frame information.

    def _rule(self, current: _Registers) -> FrameRule | None:
        address = self._vcpu.linear("cs", current.rip) - (0 if current.exact else 1)
        linked = self._places.linked_at(address, self._memory.try_translate(self._vcpu, address))
        if linked is None:
            return None
        if self._table is None:
            self._table = UnwindTable(self._places.lines.sections)
        return self._table.at(linked)

    def _by_rule(self, current: _Registers, rule: FrameRule) -> _Registers | None:
        numbers = _NUMBERS_64 if self._word == 8 else _NUMBERS_32
        if rule.return_register in rule.lost:
            raise _Stop
        base = current.general.get(numbers[rule.cfa_register]) if rule.cfa_register < len(numbers) else None
        offset = rule.saved.get(rule.return_register)
        if base is None or offset is None:
            return None
        frame = base + rule.cfa_offset & self._mask
        if frame <= current.general["rsp"]:
            return None
        general = {
            name: value
            for number, name in enumerate(numbers)
            if (value := self._restored(current, rule, frame, number)) is not None
        }
        general["rsp"] = frame
        return _Registers(self._read(frame + offset), general, exact=rule.signal, interrupted=rule.signal)

    def _restored(self, current: _Registers, rule: FrameRule, frame: int, number: int) -> int | None:
        """A register in the calling frame, None if it is not known."""
        numbers = _NUMBERS_64 if self._word == 8 else _NUMBERS_32
        if number in rule.saved:
            try:
                return self._read(frame + rule.saved[number])
            except Unreadable:
                return None
        return None if number in rule.lost else current.general.get(numbers[number])

    # Frame pointers.

    def _at_entry(self, current: _Registers) -> _Registers | None:
        """The caller if a function has just been entered, so that its frame pointer is still the caller's."""
        if not current.exact:
            return None
        address = self._vcpu.linear("cs", current.rip)
        gpa = self._memory.try_translate(self._vcpu, address)
        place = self._places.at(address, gpa)
        stack = current.general["rsp"]
        if place.offset == 1 and self._memory.read_as_far_as_possible(self._vcpu, address - 1, 1) == _PUSH_FRAME_POINTER:
            return self._returned(current, stack + self._word)
        if place.offset == 0 or gpa is None or self._places.linked_at(address, gpa) is None:
            # Or a jump has led where there is no code.
            return self._returned(current, stack)
        return None

    def _returned(self, current: _Registers, stack: int) -> _Registers | None:
        """The frame whose address lies on the stack, if it is in the image's code."""
        try:
            target = self._read(stack)
        except Unreadable:
            return None
        if not self._is_in_image(target):
            return None
        return _Registers(target, current.general | {"rsp": stack + self._word & self._mask}, exact=False)

    def _by_frame_pointer(self, current: _Registers) -> _Registers:
        stack, pointer = current.general["rsp"], current.general.get("rbp")
        plausible = pointer is not None and stack <= pointer <= stack + _LARGEST_FRAME
        limit = (pointer - stack) // self._word if plausible and pointer is not None else _SEARCHED_WORDS
        interrupted = self._interrupted(current, min(limit, _SEARCHED_WORDS))
        if interrupted is not None:
            return interrupted
        if pointer is None:
            raise _Stop("the frame pointer is not known")
        if not pointer:
            raise _Stop
        if not plausible:
            raise _Stop(f"the frame pointer {pointer:#x} is not above the stack pointer {stack:#x}")
        saved, target = self._read(pointer), self._read(pointer + self._word)
        if not target:
            raise _Stop
        if self._memory.try_translate(self._vcpu, self._vcpu.linear("cs", target)) is None:
            raise _Stop(f"the return address {target:#x} is not mapped by the guest")
        general = {"rsp": pointer + 2 * self._word & self._mask, "rbp": saved}
        return _Registers(target, general, exact=False, user=current.user)

    # Interrupts.

    def _interrupted(self, current: _Registers, words: int) -> _Registers | None:
        """What an interrupt or exception came in between of, if what the CPU has pushed lies in the next `words` of the stack."""
        if self._word == 2:
            return None
        stack = current.general["rsp"]
        data = self._memory.read_as_far_as_possible(self._vcpu, self._vcpu.linear("ss", stack), (words + 5) * self._word)
        values = [int.from_bytes(data[at : at + self._word], "little") for at in range(0, len(data) - self._word + 1, self._word)]
        for index in range(min(words, len(values) - 4)):
            rip, selector, flags, pointer, stack_selector = values[index : index + 5]
            user = selector & 3 == 3
            if not self._looks_pushed(selector, flags) or not (user or self._is_in_image(rip)):
                continue
            if self._word == 8 and stack_selector > 0xFFFF:
                continue
            # In 32-bit code the stack pointer is pushed only if the privilege level changes.
            outer = pointer if self._word == 8 or user else stack + (index + 3) * self._word
            general = {"rsp": outer & self._mask}
            if "rbp" in current.general:
                general["rbp"] = current.general["rbp"]
            return _Registers(rip, general, exact=True, interrupted=True, user=user)
        return None

    def _looks_pushed(self, selector: int, flags: int) -> bool:
        kernel = self._vcpu.segments["cs"].selector & ~3
        known = selector == kernel or (selector & 3 == 3 and 3 < selector <= 0xFFFF)
        return bool(selector) and known and bool(flags & _FLAGS_SET) and not flags & _FLAGS_CLEAR

    def _is_in_image(self, rip: int) -> bool:
        address = self._vcpu.linear("cs", rip)
        return self._places.linked_at(address, self._memory.try_translate(self._vcpu, address)) is not None

    def _read(self, offset: int) -> int:
        """A word of the stack."""
        return self._memory.number(self._vcpu, self._vcpu.linear("ss", offset & self._mask), self._word)
