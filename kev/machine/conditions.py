"""Where a machine is to stop, as people write it: at a text, a symbol, an instruction, a hypercall or a key."""

from collections.abc import Callable
from string import hexdigits
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from kev.exits import Exit, Reply, Vmcall
from kev.machine.errors import MachineError
from kev.machine.output import TextWatch
from kev.machine.vm import VmObserver
from kev.spec.values import integer

if TYPE_CHECKING:
    from kev.machine.machine import Machine
    from kev.machine.vcpu import Vcpu

FORMS: Final = "output:TEXT, symbol:NAME[+OFFSET], instructions:N, hypercall[:NUMBER], key"


_MOST: Final = (1 << 62) - 1
_MOST_DIGITS: Final = 16


class ConditionError(MachineError):
    """There is no such condition, or the machine cannot meet it."""


class Condition(Protocol):
    """Something that a machine comes to, if it does. As text it is what `condition` reads."""

    def arm(self, machine: "Machine") -> Callable[[], None]:
        """Makes `machine` come to `Stopped` when it is met. What is returned takes that back. ConditionError if it never can be."""


class OutputHas(NamedTuple):
    """The guest has printed a text. The machine stops behind its line, or with the slice that has printed the last of it."""

    text: str

    def __str__(self) -> str:
        return f"output:{self.text}"

    def arm(self, machine: "Machine") -> Callable[[], None]:
        watch = TextWatch(self.text)

        def look(data: bytes) -> None:
            if watch.finds(data):
                forget()
                machine.vm.stop_soon()

        forget = machine.vm.console.output.subscribe(look)
        return forget


class SymbolReached(NamedTuple):
    """A vCPU is about to execute the instruction at a symbol of the kernel, or so many bytes behind it."""

    name: str
    offset: int = 0

    def __str__(self) -> str:
        return f"symbol:{self.name}+{self.offset:#x}" if self.offset else f"symbol:{self.name}"

    def arm(self, machine: "Machine") -> Callable[[], None]:
        address = machine.symbol(self.name).address + self.offset
        machine.vm.engine.set_breakpoints(frozenset({address}))
        return lambda: machine.vm.engine.set_breakpoints(frozenset())


class InstructionsRetired(NamedTuple):
    """All vCPUs together have retired so many instructions. They are counted until then, which takes longer."""

    number: int

    def __str__(self) -> str:
        return f"instructions:{self.number}"

    def arm(self, machine: "Machine") -> Callable[[], None]:
        vm = machine.vm
        if vm.instructions >= self.number:
            raise ConditionError(f"{self}: {vm.instructions} instructions are retired already")
        vm.stop_at = self.number

        def forget() -> None:
            vm.stop_at = None

        return forget


class HypercallMade(NamedTuple):
    """A hypercall was carried out: any, or the one whose number was in RAX."""

    number: int | None = None

    def __str__(self) -> str:
        return "hypercall" if self.number is None else f"hypercall:{self.number}"

    def arm(self, machine: "Machine") -> Callable[[], None]:
        observer = _Hypercalls(machine, self.number)
        machine.vm.observe(observer)
        return observer.forget


class KeyPressed:
    """Ctrl-A s was typed on the terminal that is COM1's line: as often as it is."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, KeyPressed)

    def __hash__(self) -> int:
        return hash(KeyPressed)

    def __str__(self) -> str:
        return "key"

    def arm(self, machine: "Machine") -> Callable[[], None]:
        machine.save_key = machine.stop_soon

        def forget() -> None:
            machine.save_key = None

        return forget


class _Hypercalls(VmObserver):
    """Waits for one hypercall."""

    def __init__(self, machine: "Machine", number: int | None) -> None:
        self._machine: Final = machine
        self._number: Final = number
        self._waiting = True
        self._made: int | None = None

    def forget(self) -> None:
        self._waiting = False

    def exit_began(self, vcpu: "Vcpu", exit: Exit) -> None:
        if self._waiting and isinstance(exit, Vmcall):
            self._made = vcpu.state.rax

    def exit_ended(self, vcpu: "Vcpu", exit: Exit, reply: Reply | None) -> None:
        if self._waiting and isinstance(exit, Vmcall) and reply is not None and self._number in (None, self._made):
            self._waiting = False
            self._machine.vm.stop_soon()


def condition(text: str) -> Condition:
    """What `text` says, in one of `FORMS`; OFFSET and NUMBER may be hexadecimal, with 0x. ConditionError."""
    kind, colon, value = text.partition(":")
    if kind == "output" and value:
        return OutputHas(value)
    if kind == "symbol" and value:
        name, plus, offset = value.rpartition("+")
        return SymbolReached(name, _number(text, offset)) if plus and name else SymbolReached(value)
    if kind == "instructions" and value:
        return InstructionsRetired(_number(text, value))
    if kind == "hypercall" and (value or not colon):
        return HypercallMade(_number(text, value) if colon else None)
    if text == "key":
        return KeyPressed()
    raise ConditionError(f"condition {text!r}: it must be one of {FORMS}")


def _number(text: str, value: str) -> int:
    """Decimal, or hexadecimal with 0x in front."""
    digits = value.removeprefix("0x")
    number = integer(f"condition {text!r}", value) if digits == value else _hexadecimal(text, digits)
    if not 0 <= number <= _MOST:
        raise ConditionError(f"condition {text!r}: {value} must be 0 to {_MOST:#x}")
    return number


def _hexadecimal(text: str, digits: str) -> int:
    if not 0 < len(digits) <= _MOST_DIGITS or not set(digits) <= set(hexdigits):
        raise ConditionError(f"condition {text!r}: 0x{digits} must be 1 to {_MOST_DIGITS} hexadecimal digits")
    return int(digits, 16)
