"""What the CPU calls when it cannot go on by itself: an exit is a callback, and going on is returning from it."""

from collections.abc import Callable
from typing import Any, Final

from kev.engine.amdv import layout, vmcb
from kev.engine.amdv.control_registers import has_reserved_bits_in_cr3, refuse_cr3
from kev.engine.amdv.debug_registers import is_behind_stack_switch
from kev.engine.amdv.decode import LONGEST_INSTRUCTION, UndecodableInstruction, int1_length, is_general_purpose
from kev.engine.amdv.errors import EngineError
from kev.engine.amdv.events import Events
from kev.engine.amdv.exit_context import ExitContext
from kev.engine.amdv.flags import settle_flags
from kev.engine.amdv.instructions import INTERCEPTED, invalid_opcode, vmcall
from kev.engine.amdv.intercepts import Intercepts
from kev.engine.amdv.layout import CpuMemory
from kev.engine.amdv.libunicorn import EmulatedCpu
from kev.engine.amdv.linear import AwaitedPage, LinearMemory
from kev.engine.amdv.port_permission import may_access_port
from kev.engine.amdv.port_trap import PortTrap
from kev.engine.amdv.slice import Slice
from kev.engine.amdv.syscall import LENGTH as SYSTEM_CALL_LENGTH
from kev.engine.amdv.syscall import syscall, sysenter
from kev.engine.amdv.tlb_fills import NOWHERE_SHIFT, TlbFills
from kev.engine.amdv.translated_code import TranslatedCode
from kev.engine.amdv.user_returns import UserReturns
from kev.engine.amdv.vcpu import HFLAGS_CPL, HFLAGS_OSFXSR, AmdvVcpu, Event
from kev.engine.amdv.vmcb import Vmcb
from kev.errors import KevError
from kev.exits import GENERAL_PROTECTION, INVALID_OPCODE, Access, EptViolation, GuestException, IoIn, IoOut
from kev.x86 import DEBUG, PAGE_FAULT

_HFLAGS: Final = layout.HFLAGS >> 2
_VMEXIT: Final = 0x100  # Unicorn reports exit code n as interrupt 0x100 + n
_NESTED_PAGE_FAULT: Final = _VMEXIT + vmcb.NPF
_HOST_INTERRUPTS: Final = frozenset({_VMEXIT + vmcb.INTR, _VMEXIT + vmcb.SMI})
_BETWEEN_INSTRUCTIONS: Final = _HOST_INTERRUPTS | {DEBUG}
_MAY_BE_FETCHES: Final = frozenset({PAGE_FAULT, _NESTED_PAGE_FAULT})

# Nested page fault error code: bit 1 write, bit 4 instruction fetch.
_ACCESS: Final = tuple(Access.EXECUTE if error & 0x10 else Access.WRITE if error & 2 else Access.READ for error in range(0x20))

# Page fault error code: bit 1 write, bit 2 user, bit 4 instruction fetch.
_NO_SUPERVISORS_LOAD: Final = 0x16

_VMCALL_BYTES: Final = b"\x0f\x01\xc1"
_TWO_BYTE: Final = b"\x0f"  # the first byte of most opcodes that there are not


class CpuExits(ExitContext):
    """Answers the CPU's exits, each with what the slice's service replies."""

    __slots__ = ("_cut_short", "_exit_info_2", "_fills", "_port_trap", "_user_returns", "_vmrun", "_words")

    def __init__(
        self,
        uc: EmulatedCpu,
        slice: Slice,
        events: Events,
        linear: LinearMemory,
        intercepts: Intercepts,
        code: TranslatedCode,
        vmcb: Vmcb,
        state: CpuMemory,
        fills: TlbFills,
    ) -> None:
        super().__init__(uc, slice, events, linear, intercepts, code)
        self._fills: Final = fills
        self._exit_info_2: Final = vmcb.exit_info_2
        self._words: Final = state.words
        self._cut_short: tuple[int, EptViolation | KevError | None] | None = None
        """Where a port access was begun that does not take place: because it is forbidden, its check has to wait for something, or
        nobody can carry it out."""
        self._vmrun: int | None = None
        """Where RIP has to be when the CPU has stopped behind a system call that is refused."""
        self._port_trap: Final = PortTrap()
        self._user_returns: Final = UserReturns(slice, linear)
        uc.on_interrupt(self._on_interrupt)
        uc.on_invalid_instruction(self._on_invalid_instruction)
        uc.on_in(self._on_in)
        uc.on_out(self._on_out)
        uc.on_syscall(self._on_syscall)
        uc.on_sysenter(self._on_sysenter)

    def take_back_port_access(self, vcpu: AmdvVcpu) -> EptViolation | None:
        """Takes back the port access that has just ended the slice, if one has. Says what has to be awaited first.

        KevError if nobody can carry it out.
        """
        if self._cut_short is None:
            return None
        violation = self._take_back(vcpu)
        if violation is None:
            vcpu.event = Event(GENERAL_PROTECTION)
        return violation

    def take_back_cr3(self, vcpu: AmdvVcpu) -> None:
        """Takes back the MOV to CR3 that the slice has ended behind, if it has set reserved bits."""
        if has_reserved_bits_in_cr3(vcpu) and self._fills.available:
            before, loaded = self._fills.last_cr3
            refuse_cr3(self.linear, vcpu, before, loaded or vcpu.cr3)
            vcpu.event = Event(GENERAL_PROTECTION)

    def settle(self, vcpu: AmdvVcpu) -> None:
        """The CPU has stopped: what was changed for one instruction is as it was."""
        if self._vmrun is not None:
            vcpu.rip, self._vmrun = self._vmrun, None
        if self._user_returns.is_under_way:
            self._user_returns.end(vcpu, trapped=False)

    # Callbacks from the CPU.

    def _on_interrupt(self, _uc: int, number: int, _data: object) -> None:
        vcpu = self.slice.vcpu
        assert vcpu is not None
        if self.slice.counted and self.slice.leaves_flags_unsettled and not _is_between_instructions(vcpu, number):
            settle_flags(vcpu.quads, vcpu.words)
        if self._user_returns.is_under_way and self._user_returns.end(vcpu, trapped=number == DEBUG):
            return
        if self._cut_short is not None:
            self._end_cut_short(vcpu)
        elif number < _VMEXIT:
            if number == PAGE_FAULT and self._is_no_fault(vcpu):
                return
            if number == DEBUG and not vcpu.words[layout.EXCEPTION_IS_INT >> 2]:
                if self.events.delivering is None and is_behind_stack_switch(self, vcpu):
                    return
                if self.debug_stops is not None:
                    self.debug_stops.note_data_breakpoints(vcpu)
            self.events.on_guest_exception(vcpu, number)
        elif number == _NESTED_PAGE_FAULT:
            self._on_nested_page_fault(vcpu)
        elif number in _HOST_INTERRUPTS:
            self.events.on_host_interrupt(vcpu)
        else:
            self._on_instruction(vcpu, number - _VMEXIT)

    def _is_no_fault(self, vcpu: AmdvVcpu) -> bool:
        """A page fault of the emulated CPU's own: the instruction has been begun again."""
        words = vcpu.words
        return bool(
            words[_HFLAGS] & HFLAGS_CPL == HFLAGS_CPL
            and not words[layout.ERROR_CODE >> 2] & _NO_SUPERVISORS_LOAD
            and self.events.delivering is None
            and self._user_returns.begin(vcpu)
        )

    def _on_nested_page_fault(self, vcpu: AmdvVcpu) -> None:
        error = vcpu.words[layout.ERROR_CODE >> 2]
        if vcpu.quads[layout.FAULTING_CODE >> 3]:
            if self.slice.counted:
                self.slice.do_not_count()
        elif self.events.delivering is None:
            self.events.begin_nmi_again(vcpu)
        gpa: Any = self._exit_info_2[0]  # a Gpa, but by a call less
        if gpa >> NOWHERE_SHIFT:
            refuse_cr3(self.linear, vcpu, *self._fills.last_cr3)
            self.events.raise_exception(vcpu, GENERAL_PROTECTION)
            return
        exit = EptViolation(gpa, _ACCESS[error & 0x1F], bool(error & 1))
        reply = self.slice.service(exit) if self.slice.quietly is None else self.slice.ask(exit)
        if reply is None:
            self.slice.stop(vcpu, exit)
            return
        if exit.access is Access.EXECUTE:
            self.code.fetched(exit.gpa)
        if self.debug_stops is not None:
            self.debug_stops.look_again(vcpu)
        if self.events.delivering is not None:
            self.events.deliver(vcpu, self.events.delivering)

    def _on_instruction(self, vcpu: AmdvVcpu, code: int) -> None:
        handler = INTERCEPTED.get(code)
        if handler is None:
            raise EngineError(f"vCPU {vcpu.index} at RIP {vcpu.rip:#x}: exit code {code:#x} is not known")
        handler(self, vcpu)
        self.events.deliver_pending(vcpu)

    def _on_invalid_instruction(self, _uc: int, _data: object) -> bool:
        """#UD, INT 6, which Unicorn takes for the same, and VMCALL, which an AMD processor does not know."""
        vcpu = self.slice.vcpu
        assert vcpu is not None
        if self.slice.leaves_flags_unsettled:
            settle_flags(vcpu.quads, vcpu.words)
        if self._cut_short is not None:
            self._end_cut_short(vcpu)
        elif vcpu.words[layout.EXCEPTION_IS_INT >> 2]:
            vcpu.words[layout.EXCEPTION_IS_INT >> 2] = 0
            vcpu.rip = vcpu.quads[layout.EXCEPTION_NEXT_EIP >> 3]
            self.events.raise_software_interrupt(vcpu, INVALID_OPCODE.vector)
        elif self.events.delivering is None:
            self._on_undefined(vcpu)
        else:
            self.events.raise_exception(vcpu, INVALID_OPCODE)
        return True

    def _on_undefined(self, vcpu: AmdvVcpu) -> None:
        """An instruction that the CPU does not know, but a guest may."""
        code = self.linear.peek(vcpu, vcpu.instruction_address, len(_VMCALL_BYTES))
        if code == _VMCALL_BYTES:
            vmcall(self, vcpu)
            self.events.deliver_pending(vcpu)
        elif self.random_numbers is not None and self.random_numbers.emulate(self.linear, vcpu):
            self.events.deliver_pending(vcpu)
        elif not vcpu.words[_HFLAGS] & HFLAGS_OSFXSR and self._is_general_purpose(vcpu):
            # Until CR4 is written or an event delivered, SSE instructions raise no #UD either: who is here has none.
            vcpu.words[_HFLAGS] |= HFLAGS_OSFXSR
            self.slice.do_not_count()
        elif code[:1] == _TWO_BYTE:
            self._tell_undefined(vcpu)
        else:
            self._raise_undefined(vcpu)

    def _is_general_purpose(self, vcpu: AmdvVcpu) -> bool:
        """The emulated CPU wants CR4.OSFXSR for some that do not need it (Intel SDM vol. 2, "SHLX", "ADCX", "CRC32")."""
        code = self.linear.peek(vcpu, vcpu.instruction_address, LONGEST_INSTRUCTION)
        return is_general_purpose(code, in_64_bit_mode=vcpu.in_64_bit_mode)

    def _raise_undefined(self, vcpu: AmdvVcpu) -> None:
        """#UD, or what INT1 is for."""
        try:
            length = int1_length(self.linear.peek(vcpu, vcpu.instruction_address, LONGEST_INSTRUCTION))
        except UndecodableInstruction:
            self._tell_undefined(vcpu)
        else:
            vcpu.rip += length
            if self.debug_stops is not None:
                self.debug_stops.note_data_breakpoints(vcpu)
            self.events.raise_exception(vcpu, GuestException(DEBUG), length)

    def _tell_undefined(self, vcpu: AmdvVcpu) -> None:
        invalid_opcode(self, vcpu)
        self.events.deliver_pending(vcpu)

    def _on_syscall(self, _uc: int, _data: object) -> None:
        self._system_call(syscall)

    def _on_sysenter(self, _uc: int, _data: object) -> None:
        self._system_call(sysenter)

    def _system_call(self, instruction: Callable[[AmdvVcpu, int], GuestException | None]) -> None:
        vcpu = self.slice.vcpu
        assert vcpu is not None
        if self.slice.leaves_flags_unsettled:
            settle_flags(vcpu.quads, vcpu.words)
        length = SYSTEM_CALL_LENGTH + self.linear.prefixes_length(vcpu)
        exception = instruction(vcpu, length)
        if exception is not None:
            if exception is INVALID_OPCODE:
                self._tell_undefined(vcpu)
            else:
                self.events.raise_exception(vcpu, exception)
            if self.events.delivering is None:
                vcpu.rip -= length  # the CPU still moves it past the instruction
            else:
                # RIP is that of a VMRUN. By how much it is moved depends on what was translated, which need not be there any more.
                self._vmrun = vcpu.rip
                self.slice.leave_for_event()

    def _on_in(self, _uc: int, port: int, size: int, _data: object) -> int:
        if (self._words[_HFLAGS] & HFLAGS_CPL or self._cut_short is not None) and self._refuse_port(port, size):
            return 0
        try:
            reply = self.slice.service(exit := IoIn(port, size))
        except KevError as error:
            self._cut(port, error)
            return 0
        return reply if type(reply) is int else self.cannot_wait(exit)

    def _on_out(self, _uc: int, port: int, size: int, value: int, _data: object) -> None:
        if (self._words[_HFLAGS] & HFLAGS_CPL or self._cut_short is not None) and self._refuse_port(port, size):
            return
        exit = IoOut(port, size, value & (1 << 8 * size) - 1)
        try:
            reply = self.slice.service(exit)
        except KevError as error:
            self._cut(port, error)
            return
        if type(reply) is not int:
            self.cannot_wait(exit)

    def _refuse_port(self, port: int, size: int) -> bool:
        """Whether the guest's IOPL and I/O permission map forbid the access, which the emulated CPU does not check.

        They cannot at CPL 0.
        """
        vcpu = self.slice.vcpu
        assert vcpu is not None
        if self._cut_short is not None:
            return True
        try:
            if may_access_port(vcpu, self.linear, port, size):
                return False
            self._cut(port, None)
        except AwaitedPage as awaited:
            self._cut(port, awaited.violation)
        return True

    def _cut(self, port: int, reason: EptViolation | KevError | None) -> None:
        """The instruction cannot be left half-way: it is taken back behind its access to `port`, or at the end of the block."""
        vcpu = self.slice.vcpu
        assert vcpu is not None
        self._cut_short = vcpu.rip, reason
        if self.slice.leaves_flags_unsettled:
            settle_flags(vcpu.quads, vcpu.words)
        if not self._port_trap.plant(vcpu, port):
            self.slice.kick_hard()

    def _end_cut_short(self, vcpu: AmdvVcpu) -> None:
        self.slice.take_back_hard_kick()
        violation = self._take_back(vcpu)
        vcpu.words[layout.EXCEPTION_IS_INT >> 2] = 0
        if violation is None:
            self.events.raise_exception(vcpu, GENERAL_PROTECTION)
        else:
            self.slice.stop(vcpu, violation)

    def _take_back(self, vcpu: AmdvVcpu) -> EptViolation | None:
        """Puts the vCPU before its port access; says what has to be awaited before it is decided. KevError if that is why."""
        assert self._cut_short is not None
        self._port_trap.remove(vcpu)
        (vcpu.rip, reason), self._cut_short = self._cut_short, None
        if isinstance(reason, KevError):
            raise reason
        return reason


def _is_between_instructions(vcpu: AmdvVcpu, number: int) -> bool:
    """No instruction has begun that has not come to its end: the CPU itself knows the flags."""
    return number in _BETWEEN_INSTRUCTIONS or (number in _MAY_BE_FETCHES and not vcpu.quads[layout.FAULTING_CODE >> 3])
