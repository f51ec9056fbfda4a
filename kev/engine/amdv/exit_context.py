"""What handlers of exits work with."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, NoReturn

from kev.addressing import Gpa
from kev.engine.amdv.errors import EngineError
from kev.engine.amdv.events import Events
from kev.engine.amdv.intercepts import Intercepts
from kev.engine.amdv.libunicorn import EmulatedCpu
from kev.engine.amdv.linear import AwaitedPage, LinearMemory
from kev.engine.amdv.slice import Slice
from kev.engine.amdv.translated_code import TranslatedCode
from kev.engine.amdv.vcpu import AmdvVcpu
from kev.exits import Exit, GuestException, MmioRead, Reply
from kev.page_tables.guest import GuestFault
from kev.x86 import CR4_FSGSBASE, CR4_LEGACY, CR4_SMAP, CR4_SMEP, CR4_UMIP

if TYPE_CHECKING:
    from kev.engine.amdv.debug_stops import DebugStops
    from kev.engine.amdv.random_numbers import RandomNumbers

_DEFINED_CR4: Final = CR4_LEGACY | CR4_UMIP | CR4_FSGSBASE | CR4_SMEP | CR4_SMAP


class ExitContext:
    """The parts of the engine that an exit may concern, and the ways to finish one."""

    __slots__ = (
        "code",
        "debug_stops",
        "events",
        "intercepts",
        "linear",
        "permitted_cr4",
        "random_numbers",
        "slice",
        "tells_invalid_opcodes",
        "uc",
        "withheld_efer",
    )

    def __init__(
        self, uc: EmulatedCpu, slice: Slice, events: Events, linear: LinearMemory, intercepts: Intercepts, code: TranslatedCode
    ) -> None:
        self.uc: Final = uc
        self.slice: Final = slice
        self.events: Final = events
        self.linear: Final = linear
        self.intercepts: Final = intercepts
        self.code: Final = code
        self.permitted_cr4 = _DEFINED_CR4
        """What the guest may set in CR4."""
        self.withheld_efer = 0
        """What the guest does not get in EFER, though it writes it."""
        self.tells_invalid_opcodes = False
        """#UD exits for whoever may carry the instruction out."""
        self.random_numbers: RandomNumbers | None = None
        """Where RDRAND and RDSEED get theirs, if not from the host."""
        self.debug_stops: DebugStops | None = None
        """Breakpoints and watchpoints, while there are any."""

    def answer(self, exit: Exit) -> int:
        """The reply to an exit in the middle of an instruction. EngineError if there is none."""
        reply = self.slice.service(exit)
        return reply if type(reply) is int else self.cannot_wait(exit)

    def cannot_wait(self, exit: Exit) -> NoReturn:
        """Raises EngineError: an exit in the middle of an instruction has no reply."""
        raise EngineError(f"{exit} cannot be put off or refused: the instruction is half-way through")

    def reply_or_stop(self, vcpu: AmdvVcpu, exit: Exit) -> Reply | None:
        """The reply that finishes `exit`; None if an exception is on its way instead, or the slice ends."""
        reply = self.slice.service(exit)
        if reply is None:
            self.slice.stop(vcpu, exit)
        elif isinstance(reply, GuestException):
            self.events.raise_exception(vcpu, reply)
            return None
        return reply

    def load(self, vcpu: AmdvVcpu, linear: int, length: int) -> bytes | None:
        """Reads memory for an emulated instruction; None if a page fault is on its way, or the slice has ended."""
        try:
            return self.linear.read(vcpu, linear, length)
        except GuestFault as fault:
            self.events.raise_exception(vcpu, fault.exception)
        except AwaitedPage as awaited:
            gpa = awaited.violation.gpa
            if self.linear.is_device(gpa):
                return b"".join(self._load_from_device(gpa, length))
            self._restart_later(vcpu, awaited)
        return None

    def _load_from_device(self, gpa: Gpa, length: int) -> Iterator[bytes]:
        """A selector or limit of 2 bytes, and what follows it."""
        for offset, size in ((0, 2), (2, length - 2)):
            if size:
                yield self.answer(MmioRead(Gpa(gpa + offset), size)).to_bytes(size, "little")

    def store(self, vcpu: AmdvVcpu, linear: int, data: bytes) -> bool:
        """Writes to guest memory for an emulated instruction; False if a page fault is on its way, or the slice has ended."""
        try:
            self.linear.write(vcpu, linear, data)
        except GuestFault as fault:
            self.events.raise_exception(vcpu, fault.exception)
            return False
        except AwaitedPage as awaited:
            self._restart_later(vcpu, awaited)
            return False
        return True

    def _restart_later(self, vcpu: AmdvVcpu, awaited: AwaitedPage) -> None:
        """An emulated instruction begins again when the page is there, and counts once."""
        self.slice.do_not_count()
        self.slice.stop(vcpu, awaited.violation)
