"""What a vCPU remembers of its exceptions and interrupts."""

from kev.engine.base import SINGLE_STEP, Budget
from kev.engine.registers import HISTORY_LENGTH, RaisedEvent
from kev.exits import TripleFault, Vmcall
from tests.machine.code import VMCALL, code
from tests.machine.modes import ABSENT_PAGE, IDT, LONG, PROTECTED, REAL, TEXT, cpu_in, handler

BUDGET = Budget(instructions=100_000)


def test_a_page_fault_is_remembered_with_its_address_and_error_code() -> None:
    text = code("90 a3") + (ABSENT_PAGE + 8).to_bytes(4, "little")
    with cpu_in(PROTECTED, text) as cpu:
        assert cpu.run_slice(BUDGET) == Vmcall()
        before = cpu.vcpu.instructions - 1
        assert cpu.vcpu.history == (RaisedEvent(14, 2, ABSENT_PAGE + 8, TEXT + 1, before),)


def test_a_software_interrupt_is_remembered_behind_its_instruction() -> None:
    with cpu_in(LONG, code("cc")) as cpu:
        cpu.run_slice(Budget(seconds=60))
        assert cpu.vcpu.history == (RaisedEvent(3, None, None, TEXT + 1, 0),)


def test_int_with_the_vector_of_an_exception_is_told_from_it() -> None:
    with cpu_in(REAL, code("cd 10")) as cpu:
        cpu.run_slice(Budget(seconds=3))
        assert cpu.vcpu.history[0] == RaisedEvent(0x10, None, None, TEXT + 2, 0, by_int=True)


def test_interrupts_are_remembered_in_their_turn() -> None:
    back = {handler(vector): code("cf") for vector in (2, 3, 0x40)}
    with cpu_in(PROTECTED, code("90 cc 90 90") + VMCALL, back, rflags=0x202) as cpu:
        while cpu.vcpu.instruction_address != TEXT:
            cpu.run_slice(SINGLE_STEP)
        cpu.engine.raise_interrupt(cpu.vcpu, 0x40)
        cpu.run_slice(Budget(instructions=5))
        cpu.engine.raise_nmi(cpu.vcpu)
        cpu.run_slice(BUDGET)
        assert [(event.vector, event.rip) for event in cpu.vcpu.history] == [(0x40, None), (3, TEXT + 2), (2, None)]


def test_one_whose_delivery_is_put_off_is_remembered_once() -> None:
    with cpu_in(PROTECTED, code("0f 0b")) as cpu:
        cpu.awaits_pages = True
        assert cpu.run() == Vmcall()
        assert [event.vector for event in cpu.vcpu.history] == [6]


def test_a_triple_fault_is_told_from_its_beginning() -> None:
    text = code("0f 0b")
    # The gates of #UD, #GP and #DF are absent.
    contents = {IDT + 8 * vector: bytes(8) for vector in (6, 8, 11, 13)}
    with cpu_in(PROTECTED, text, contents) as cpu:
        assert isinstance(cpu.run_slice(BUDGET), TripleFault)
        assert [event.vector for event in cpu.vcpu.history] == [6, 13, 8]
        assert {event.rip for event in cpu.vcpu.history} == {TEXT}


def test_no_more_than_the_latest_are_remembered() -> None:
    count = HISTORY_LENGTH + 4
    with cpu_in(PROTECTED, code("cc") * count + VMCALL, {handler(3): code("cf")}) as cpu:
        assert cpu.run_slice(BUDGET) == Vmcall()
        assert [event.rip for event in cpu.vcpu.history] == [TEXT + 1 + place for place in range(4, count)]
