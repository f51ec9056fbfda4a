"""Runs what a student has made, within bounds, and says what it did."""

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from kev.addressing import MIB
from kev.exits import Exit, InvalidOpcode, Vmcall
from kev.machine.api import launch
from kev.machine.ending import EndingKind
from kev.machine.vcpu import Vcpu
from kev.machine.vm import VmObserver
from kev.postmortem.loaded_memory import LoadedMemory
from kev.tour.exercise import WrongAnswer
from kev.x86 import CR0_PE

if TYPE_CHECKING:
    from kev.machine.machine import Machine
    from kev.machine.run_report import RunReport

SEED: Final = 1
"""All guests run by the same schedule and in virtual time: a check says the same always."""
_LONGEST: Final = 20  # seconds
_MOST_OUTPUT: Final = 1 << 16
_LONGEST_SHOWN: Final = 60
_LONGEST_OPCODE: Final = 3


class Hypercall(NamedTuple):
    number: int
    cpl: int


class Seen(NamedTuple):
    """What a guest did."""

    report: "RunReport"
    output: bytes
    log: bytes
    """The lines of the logs that are kept of it."""
    hypercalls: tuple[Hypercall, ...]
    invalid_opcodes: tuple[bytes, ...]
    """The first bytes of what exited as an invalid opcode."""
    protected_mode: bool
    """At the end, on vCPU 0."""


class _Witness(VmObserver):
    def __init__(self) -> None:
        self.hypercalls: list[Hypercall] = []
        self.invalid_opcodes: list[bytes] = []
        self.protected_mode = False

    def start(self, machine: "Machine") -> None:
        self._machine = machine
        machine.observe(self)

    def end(self, machine: "Machine") -> None:
        self.protected_mode = bool(machine.vm.vcpus[0].state.cr0 & CR0_PE)

    def exit_began(self, vcpu: Vcpu, exit: Exit) -> None:
        state = vcpu.state
        if isinstance(exit, Vmcall):
            self.hypercalls.append(Hypercall(state.rax, state.cpl))
        elif isinstance(exit, InvalidOpcode):
            memory = LoadedMemory(self._machine.vm.pager)
            self.invalid_opcodes.append(memory.read_as_far_as_possible(state, state.cs.base + state.rip, _LONGEST_OPCODE))


def see(image: str, **wishes: Any) -> Seen:
    """Runs an image on the machine that `wishes` describe. KevError if it cannot be launched."""
    witness = _Witness()
    log: list[bytes] = []
    report = launch(
        image,
        seed=SEED,
        max_output=_MOST_OUTPUT,
        log=log.append,
        at_start=witness.start,
        at_end=witness.end,
        **{"memory": 16 * MIB, "timeout": _LONGEST, **wishes},
    )
    return Seen(
        report,
        report.output or b"",
        b"".join(log),
        tuple(witness.hypercalls),
        tuple(witness.invalid_opcodes),
        witness.protected_mode,
    )


def require_end(seen: Seen, exit_code: int = 0) -> None:
    """WrongAnswer unless the guest ended itself with this exit code."""
    ending = seen.report.ending
    if ending.kind is not EndingKind.EXITED:
        raise WrongAnswer(f"the guest does not end itself: {ending}")
    if ending.exit_code != exit_code:
        raise WrongAnswer(f"the guest ends with exit code {ending.exit_code}, not {exit_code}")


def require_output(seen: Seen, text: bytes) -> None:
    """WrongAnswer unless the guest has printed this, with or without other things."""
    if text not in seen.output:
        shown = seen.output[:_LONGEST_SHOWN]
        raise WrongAnswer(f"the guest prints {shown!r}{'...' if shown != seen.output else ''}, in which {text!r} is not")


def require_hypercalls(seen: Seen, numbers: list[int], cpl: int) -> None:
    """WrongAnswer unless the guest has made these hypercalls in this order, with or without others, at this privilege level."""
    rest = iter([call.number for call in seen.hypercalls if call.cpl == cpl])
    for number in numbers:
        if number not in rest:
            found = ", ".join(f"{call.number} at CPL {call.cpl}" for call in seen.hypercalls[:8]) or "none"
            raise WrongAnswer(f"hypercall {number} at CPL {cpl} is missing or comes too early; made were: {found}")
