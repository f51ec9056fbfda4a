"""Where a machine is to stop."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kev.errors import KevError
from kev.machine.conditions import ConditionError, condition
from kev.machine.step import Ended, Stopped
from tests.machine.seeded import machine_of, stop_at


def output_when(name: str, text: str) -> bytes:
    """What a guest has printed when it stops at a condition."""
    output = bytearray()
    with machine_of(name, output) as machine:
        condition(text).arm(machine)
        while not isinstance(step := machine.vm.step(machine.scheduler), Stopped):
            assert not isinstance(step, Ended), f"{step} before {text}"
        printed = bytes(output)
        while not isinstance(machine.vm.step(machine.scheduler), Ended):
            pass
        whole = bytearray()
        with machine_of(name, whole) as undisturbed:
            while not isinstance(undisturbed.vm.step(undisturbed.scheduler), Ended):
                pass
        assert output == whole, "it went on otherwise"
        return printed


def test_it_stops_behind_the_line_that_has_the_text() -> None:
    output = bytearray()
    with machine_of("smp", output) as machine:
        while not isinstance(machine.vm.step(machine.scheduler), Ended):
            pass
    line = bytes(output).splitlines(keepends=True)[1]
    printed = output_when("smp", f"output:{line[2:6].decode()}")
    assert bytes(output).startswith(printed)
    assert printed.endswith(line)


def test_it_stops_when_a_hypercall_is_done() -> None:
    assert output_when("hypercalls", "hypercall:1").count(b"\n") == 1
    assert output_when("hypercalls", "hypercall").count(b"\n") == 1


def test_it_stops_at_a_symbol_before_its_instruction() -> None:
    output = bytearray()
    with machine_of("lost-update", output) as machine:
        forget = condition("symbol:main").arm(machine)
        while not isinstance(machine.vm.step(machine.scheduler), Stopped):
            pass
        assert any(vcpu.state.rip == machine.symbol("main").address for vcpu in machine.vm.vcpus)
        forget()
        while not isinstance(machine.vm.step(machine.scheduler), Ended):
            pass
    assert machine.vm.ending is not None
    assert machine.vm.ending.exit_code == 0


@pytest.mark.parametrize("instructions", [1, 999, 12_345])
def test_it_stops_after_exactly_so_many_instructions(instructions: int) -> None:
    with machine_of("smp", bytearray()) as machine:
        condition(f"instructions:{instructions}").arm(machine)
        while not isinstance(machine.vm.step(machine.scheduler), Stopped):
            pass
        assert machine.vm.instructions == instructions


def test_what_is_over_already_is_refused() -> None:
    with machine_of("smp", bytearray()) as machine:
        stop_at(machine, 1000)
        with pytest.raises(ConditionError, match="1000 instructions are retired already"):
            condition("instructions:1000").arm(machine)


@pytest.mark.parametrize("text", ["output:a b", "symbol:main", "symbol:main+0x10", "instructions:7", "hypercall", "hypercall:1"])
def test_a_condition_is_written_as_it_is_read(text: str) -> None:
    assert str(condition(text)) == text


KINDS = st.sampled_from(["output", "symbol", "instructions", "hypercall"])


@given(st.text() | st.builds("{}:{}".format, KINDS, st.text()))
def test_anything_else_is_refused(text: str) -> None:
    try:
        understood = condition(text)
    except KevError:
        return
    assert condition(str(understood)) == understood
