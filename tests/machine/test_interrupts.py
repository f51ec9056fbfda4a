"""External interrupts and NMIs: when a processor takes them, and that it takes them once."""

from collections.abc import Callable

import pytest

from kev.engine.base import SINGLE_STEP, Budget
from kev.exits import Cpuid, CpuidResult, Exit, Hlt, IoOut, PreemptionTimer, Vmcall
from tests.machine.code import SPIN, VMCALL, code
from tests.machine.cpu import Cpu
from tests.machine.modes import (
    EVERY_MODE,
    GDT,
    LONG,
    PROTECTED,
    REAL,
    TASK,
    TEXT,
    TSS,
    Mode,
    cpu_in,
    delivery,
    gate,
    gate_address,
    handler,
)

IF = 0x202
VECTOR = 0x50
SLICES = pytest.mark.parametrize("slice_length", [None, 1, 3])
MODES = pytest.mark.parametrize("mode", EVERY_MODE, ids=lambda mode: mode.name)


def on_out(
    action: Callable[[Cpu], None], text: bytes, mode: Mode, *, rflags: int = 2, handlers: dict[int, bytes] | None = None
) -> Cpu:
    """A CPU for which `action` is carried out whenever the code writes to a port."""

    def answer(_exit: Exit) -> int:
        action(cpu)
        return 0

    cpu = cpu_in(mode, text, handlers, rflags=rflags, answers={IoOut: answer})
    return cpu


def no_cpuid(_exit: Exit) -> CpuidResult:
    return CpuidResult(0, 0, 0, 0)


def request(cpu: Cpu) -> None:
    cpu.engine.raise_interrupt(cpu.vcpu, VECTOR)


def test_a_processor_that_spins_takes_an_interrupt_once() -> None:
    for mode in EVERY_MODE:
        with cpu_in(mode, SPIN, rflags=IF) as cpu:
            assert cpu.run_slice(Budget(instructions=50)) == PreemptionTimer()
            request(cpu)
            found = delivery(cpu, mode, cpu.run(1), error_code=False)
            assert (found.vector, found.rip, found.cs, found.rflags) == (VECTOR, TEXT, mode.cs, IF)
            assert cpu.engine.interrupt_taken(cpu.vcpu) == VECTOR
            assert cpu.engine.interrupt_taken(cpu.vcpu) is None


@SLICES
def test_it_is_not_taken_a_second_time(slice_length: int | None) -> None:
    contents = {handler(VECTOR): code("ff c5 48 cf ; inc ebp; iretq")}
    with on_out(request, code("e6 10 eb 00 90 90") + VMCALL, LONG, rflags=IF, handlers=contents) as cpu:
        assert cpu.run(slice_length) == Vmcall()
        assert cpu.vcpu.rip == TEXT + 6
        assert cpu.vcpu.rbp == 1


@SLICES
@MODES
def test_it_waits_while_if_is_clear(mode: Mode, slice_length: int | None) -> None:
    with on_out(request, code("e6 10 eb 00 90 ; out 0x10, al; jmp $+2; nop") + VMCALL, mode) as cpu:
        assert cpu.run(slice_length) == Vmcall()
        assert cpu.vcpu.cs.base + cpu.vcpu.rip == TEXT + 5
        assert cpu.engine.interrupt_taken(cpu.vcpu) is None


@SLICES
@pytest.mark.parametrize("mode", [REAL, PROTECTED, LONG], ids=lambda mode: mode.name)
@pytest.mark.parametrize(
    ("name", "text", "taken_at"),
    [
        ("STI holds it back for one instruction", "e6 10 fb 90 fa 90 ; out; sti; nop; cli; nop", 4),
        ("STI and CLI let none through", "e6 10 fb fa 90 90 ; out; sti; cli; nop; nop", None),
        ("POPF does not hold it back", "e6 10 68 02 02 9d 90 90 ; out; push IF; popf; nop; nop", 6),
        ("STI holds it back only if IF was clear", "fb 90 e6 10 fb 90 fa ; sti; nop; out; sti; nop; cli", None),
    ],
)
def test_when_it_is_taken_behind_an_instruction_that_sets_if(
    mode: Mode, slice_length: int | None, name: str, text: str, taken_at: int | None
) -> None:
    if "popf" in text and mode is not REAL:
        text = "e6 10 68 02 02 00 00 9d 90 90"
        taken_at = 8
    if name.endswith("clear"):
        taken_at = 4 if slice_length is not None else 6
    with on_out(request, code(text) + VMCALL, mode) as cpu:
        assert cpu.run(slice_length) == Vmcall()
        if taken_at is None:
            assert cpu.vcpu.cs.base + cpu.vcpu.rip == TEXT + len(code(text))
        else:
            found = delivery(cpu, mode, Vmcall(), error_code=False)
            assert (found.vector, found.rip) == (VECTOR, TEXT + taken_at)


@SLICES
def test_a_load_of_ss_holds_it_back_for_one_instruction(slice_length: int | None) -> None:
    text = code("b8 10 00 00 00 e6 10 fb 8e d0 bc 00 70 00 00 fa ; mov eax, DATA; out; sti; mov ss, eax; mov esp, 0x7000; cli")
    with on_out(request, text + VMCALL, PROTECTED) as cpu:
        found = delivery(cpu, PROTECTED, cpu.run(slice_length), error_code=False)
        assert found.vector == VECTOR
        assert found.rip in (TEXT + 10, TEXT + 15)


@SLICES
@MODES
def test_a_halted_processor_is_interrupted_behind_hlt(mode: Mode, slice_length: int | None) -> None:
    if mode.cpl:
        return
    with cpu_in(mode, code("f4 90 90"), rflags=IF) as cpu:
        assert cpu.run(slice_length) == Hlt()
        request(cpu)
        found = delivery(cpu, mode, cpu.run(slice_length), error_code=False)
        assert (found.vector, found.rip) == (VECTOR, TEXT + 1)


def test_an_interrupt_that_is_withdrawn_does_not_come() -> None:
    with cpu_in(LONG, code("90 90") + VMCALL, rflags=IF) as cpu:
        request(cpu)
        cpu.engine.raise_interrupt(cpu.vcpu, None)
        assert cpu.run() == Vmcall()
        assert cpu.vcpu.rip == TEXT + 2


@pytest.mark.parametrize("pages", ["eager", "lazy", "awaited"])
@SLICES
@MODES
def test_pages_that_come_during_its_delivery_change_nothing(mode: Mode, slice_length: int | None, pages: str) -> None:
    with on_out(request, code("e6 10 eb 00 90 ; out 0x10, al; jmp $+2; nop"), mode, rflags=IF) as cpu:
        if pages == "eager":
            cpu.load_everything()
        cpu.awaits_pages = pages == "awaited"
        found = delivery(cpu, mode, cpu.run(slice_length), error_code=False)
        assert (found.vector, found.rip) == (VECTOR, TEXT + (4 if slice_length is None else 2))
        assert cpu.engine.interrupt_taken(cpu.vcpu) == VECTOR


@SLICES
@pytest.mark.parametrize("mode", [PROTECTED, LONG], ids=lambda mode: mode.name)
def test_an_interrupt_through_a_gate_that_is_not_present_is_np_with_a_cause_outside_of_the_program(
    mode: Mode, slice_length: int | None
) -> None:
    contents = {gate_address(mode, VECTOR): gate(mode, VECTOR, present=False)}
    with on_out(request, code("e6 10 eb 00 90") + SPIN, mode, rflags=IF, handlers=contents) as cpu:
        found = delivery(cpu, mode, cpu.run(slice_length), error_code=True)
        assert (found.vector, found.error_code) == (11, VECTOR << 3 | 3)
        assert found.rip == TEXT + (4 if slice_length is None else 2)


def test_only_the_processor_it_is_for_takes_it() -> None:
    with cpu_in(LONG, SPIN, rflags=IF, vcpus=2) as cpu:
        for vcpu in (0, 1):
            cpu.run_slice(Budget(instructions=50), vcpu)
            cpu.page(GDT)[TASK + 5] = 0x89  # the task state segment is not busy: the next processor loads it too
        cpu.engine.raise_interrupt(cpu.vcpus[1], VECTOR)
        assert cpu.run_slice(Budget(instructions=10), 0) == PreemptionTimer()
        assert cpu.vcpu.rip == TEXT
        assert cpu.run_slice(Budget(instructions=10), 1) == Vmcall()
        assert cpu.vcpus[1].rip == handler(VECTOR)


# Non-maskable interrupts.


def nmi(cpu: Cpu) -> None:
    cpu.engine.raise_nmi(cpu.vcpu)


@SLICES
@MODES
def test_an_nmi_is_taken_while_if_is_clear(mode: Mode, slice_length: int | None) -> None:
    with on_out(nmi, code("e6 10 eb 00 90 90 ; out 0x10, al; jmp $+2; nop; nop") + VMCALL, mode) as cpu:
        found = delivery(cpu, mode, cpu.run(slice_length), error_code=False)
        assert (found.vector, found.rip) == (2, TEXT + (4 if slice_length is None else 2))


@SLICES
@pytest.mark.parametrize(
    ("text", "shadow", "length"),
    [
        ("fb 90 90 ; sti; nop; nop", 1, 1),
        ("fb 0f a2 90 ; sti; cpuid; nop", 1, 2),
        ("b8 10 00 00 00 8e d0 90 90 ; mov eax, DATA; mov ss, eax; nop; nop", 7, 1),
    ],
    ids=["sti", "sti-exit", "mov-ss"],
)
def test_an_nmi_waits_for_the_instruction_behind_sti_and_mov_ss(
    text: str, shadow: int, length: int, slice_length: int | None
) -> None:
    with cpu_in(PROTECTED, code(text) + VMCALL) as cpu:
        while cpu.vcpu.rip != TEXT + shadow:
            cpu.run_slice(Budget(instructions=1))
        nmi(cpu)
        found = delivery(cpu, PROTECTED, cpu.run(slice_length), error_code=False)
        assert (found.vector, found.rip) == (2, TEXT + shadow + length)


@SLICES
def test_an_nmi_that_waits_ends_the_hlt_behind_sti(slice_length: int | None) -> None:
    with cpu_in(PROTECTED, code("fb f4 90 ; sti; hlt; nop") + VMCALL) as cpu:
        while cpu.vcpu.rip != TEXT + 1:
            cpu.run_slice(Budget(instructions=1))
        nmi(cpu)
        found = delivery(cpu, PROTECTED, cpu.run(slice_length), error_code=False)
        assert (found.vector, found.rip) == (2, TEXT + 2)


@SLICES
def test_of_two_nmis_that_come_between_two_slices_both_are_taken(slice_length: int | None) -> None:
    count = code("ff c5 cf ; inc ebp; iret")
    with cpu_in(PROTECTED, code("90 90 90") + VMCALL, {handler(2): count}) as cpu:
        while cpu.vcpu.rip != TEXT + 1:
            cpu.run_slice(Budget(instructions=1))
        for _ in range(3):
            nmi(cpu)
        cpu.run_slice(Budget(instructions=1))
        assert (cpu.vcpu.rip, cpu.vcpu.rbp) == (handler(2) + 2, 1)
        assert cpu.run(slice_length) == Vmcall()
        assert (cpu.vcpu.rip, cpu.vcpu.rbp) == (TEXT + 3, 2)


def test_a_processor_that_halts_while_a_second_nmi_waits_takes_it_first() -> None:
    with cpu_in(PROTECTED, code("90 f4 90") + VMCALL, {handler(2): code("ff c5 cf ; inc ebp; iret")}) as cpu:
        while cpu.vcpu.rip != TEXT + 1:
            cpu.run_slice(Budget(instructions=1))
        nmi(cpu)
        nmi(cpu)
        assert cpu.run_slice(Budget(seconds=60)) == PreemptionTimer()
        assert (cpu.vcpu.rip, cpu.vcpu.rbp) == (TEXT + 2, 1)
        assert cpu.run() == Vmcall()
        assert cpu.vcpu.rbp == 2


def test_exits_behind_sti_count_for_a_slice_that_an_nmi_waits_in() -> None:
    text, contents = code("fb 0f a2 0f a2 0f a2 90 ; sti; cpuid; cpuid; cpuid; nop"), {handler(2): code("cf ; iret")}
    with cpu_in(PROTECTED, text + VMCALL, contents, answers={Cpuid: no_cpuid}) as cpu:
        cpu.load_everything()
        while cpu.vcpu.rip != TEXT + 1:
            cpu.run_slice(Budget(instructions=1))
        nmi(cpu)
        assert cpu.run_slice(Budget(instructions=100, interruptions=2)) == PreemptionTimer()
        assert cpu.vcpu.rip == TEXT + 5
        assert len(cpu.told(Cpuid)) == 2


def test_a_single_step_behind_sti_is_the_instruction_and_not_the_nmi_that_waits() -> None:
    with cpu_in(PROTECTED, code("fb 90 90 ; sti; nop; nop") + VMCALL) as cpu:
        while cpu.vcpu.rip != TEXT + 1:
            cpu.run_slice(SINGLE_STEP)
        nmi(cpu)
        cpu.run_slice(SINGLE_STEP)
        assert cpu.vcpu.rip == TEXT + 2
        cpu.run_slice(SINGLE_STEP)
        assert cpu.vcpu.rip == handler(2)


@pytest.mark.parametrize("pages", ["eager", "awaited"])
@SLICES
@MODES
def test_pages_that_come_during_the_delivery_of_an_nmi_change_nothing(mode: Mode, slice_length: int | None, pages: str) -> None:
    with on_out(nmi, code("e6 10 eb 00 90 90 ; out 0x10, al; jmp $+2; nop; nop") + VMCALL, mode) as cpu:
        if pages == "eager":
            cpu.load_everything()
        cpu.awaits_pages = pages == "awaited"
        found = delivery(cpu, mode, cpu.run(slice_length), error_code=False)
        assert (found.vector, found.rip) == (2, TEXT + (4 if slice_length is None else 2))


@pytest.mark.parametrize("pages", ["lazy", "awaited"])
@SLICES
def test_an_interrupt_that_meets_an_absent_page_in_the_nmi_handler_does_not_bring_the_nmi_back(
    slice_length: int | None, pages: str
) -> None:
    def both(cpu: Cpu) -> None:
        (nmi if not cpu.vcpu.rbp else request)(cpu)

    far = 0xA0000  # a page that nothing has touched
    ist_frame = code("ff c5 fb e6 10 eb 00 90 fa ; inc ebp; sti; out 0x10, al; jmp $+2; nop; cli") + code("48 cf ; iretq")
    contents = {handler(2): ist_frame, gate_address(LONG, VECTOR): gate(LONG, VECTOR, ist=1), TSS + 0x24: far.to_bytes(8, "little")}
    contents[handler(VECTOR)] = code("48 cf ; iretq")
    with on_out(both, code("e6 10 eb 00 90 90") + VMCALL, LONG, handlers=contents) as cpu:
        cpu.awaits_pages = pages == "awaited"
        assert cpu.run(slice_length) == Vmcall()
        assert (cpu.vcpu.rip, cpu.vcpu.rbp) == (TEXT + 6, 1)
        assert cpu.engine.interrupt_taken(cpu.vcpu) == VECTOR


@SLICES
def test_a_second_nmi_waits_for_iret(slice_length: int | None) -> None:
    text = code("e6 10 eb 00 90 90 ; out 0x10, al; jmp $+2; nop; nop") + VMCALL
    handlers = {
        handler(2): code("ff c5 83 fd 02 74 04 e6 10 eb 00 48 cf ; inc ebp; cmp ebp, 2; je +4; out 0x10, al; jmp $+2; iretq")
    }
    with on_out(nmi, text, LONG, handlers=handlers) as cpu:
        assert cpu.run(slice_length) == Vmcall()
        assert cpu.vcpu.rip == TEXT + 6
        assert cpu.vcpu.rbp == 2


def test_an_nmi_goes_before_an_interrupt() -> None:
    with cpu_in(LONG, SPIN, rflags=IF) as cpu:
        cpu.run_slice(Budget(instructions=50))
        request(cpu)
        nmi(cpu)
        assert delivery(cpu, LONG, cpu.run(), error_code=False).vector == 2
        assert cpu.engine.interrupt_taken(cpu.vcpu) is None
