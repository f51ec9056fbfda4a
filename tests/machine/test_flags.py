"""Arithmetic flags are the same however a guest is sliced, whatever exits in between."""

from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kev.addressing import PAGE_SIZE
from kev.exits import Exit, Reply, Vmcall
from tests.examples import examples
from tests.machine.code import code
from tests.machine.cpu import STACK, Cpu

_VMCALL_LENGTH: Final = 3
_LAST: Final = 0x1234_5678
_END: Final = code("bd 78 56 34 12 0f 01 c1 ; mov ebp, _LAST; vmcall")
_PUSH_FLAGS: Final = code("9c")

_VALUES: Final = st.sampled_from((0, 1, 4, 0x10, 0x11, 0x44, 0x55, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF))
_BYTES: Final = st.sampled_from((0, 1, 4, 0x10, 0x44, 0x7F, 0x80, 0xFF))
_SET_FLAGS: Final = st.one_of(
    st.builds(lambda value: b"\xb8" + value.to_bytes(4, "little"), _VALUES),
    # ADD, OR, ADC, SBB, AND, SUB, XOR, CMP of EAX with a byte
    st.builds(lambda kind, value: bytes((0x83, 0xC0 | kind << 3, value)), st.integers(0, 7), _BYTES),
    st.builds(lambda value: bytes((0x3C, value)), _BYTES),
    st.builds(lambda count: bytes((0xB1, count, 0xD3, 0xE0)), st.integers(0, 3)),
    st.sampled_from(
        [
            code(text)
            for text in (
                "40 ; inc eax",
                "48 ; dec eax",
                "f7 d8 ; neg eax",
                "85 c0 ; test eax, eax",
                "31 c0 ; xor eax, eax",
                "d1 e0 ; shl eax, 1",
                "f9 ; stc",
                "f8 ; clc",
                "b9 03 00 00 00 f3 a6 ; mov ecx, 3; repe cmpsb",
                "eb 00 ; jmp $+2",
                "74 00 ; je $+2",
                "9f ; lahf",
            )
        ]
    ),
)
_EXIT: Final = st.one_of(
    st.sampled_from(
        [
            code(text)
            for text in ("0f a2 ; cpuid", "e4 30 ; in al, 0x30", "e6 30 ; out 0x30, al", "0f 31 ; rdtsc", "0f 01 c1 ; vmcall")
        ]
    ),
    st.builds(lambda page: b"\xa3" + (page << 12).to_bytes(4, "little"), st.integers(0x10, 0xFF)),
)
_PROGRAMS: Final = st.lists(st.one_of(_SET_FLAGS, _EXIT, st.just(_PUSH_FLAGS)), min_size=1, max_size=40).map(b"".join)


def _flags_pushed(program: bytes, slice_length: int | None, *, across_pages: bool) -> bytes:
    text = program + _END
    if across_pages:
        before = PAGE_SIZE - len(text) // 2
        text = b"\xe9" + (before - 5).to_bytes(4, "little") + bytes(before - 5) + text

    def go_on(_exit: Exit) -> Reply | None:
        return None if cpu.vcpu.rbp == _LAST else _VMCALL_LENGTH

    with Cpu(text, answers={Vmcall: go_on}) as cpu:
        cpu.run(slice_length)
        pushed = bytes(cpu.page(STACK - PAGE_SIZE)[cpu.vcpu.rsp - STACK :]) if cpu.vcpu.rsp < STACK else b""
        return pushed + cpu.vcpu.rflags.to_bytes(4, "little")


@settings(max_examples=examples(60))
@given(_PROGRAMS, st.integers(1, 8), st.booleans())
def test_flags_do_not_depend_on_how_a_guest_is_sliced(program: bytes, slice_length: int, across_pages: bool) -> None:
    expected = _flags_pushed(program, None, across_pages=across_pages)
    assert _flags_pushed(program, slice_length, across_pages=across_pages) == expected
    assert _flags_pushed(program, 1_000, across_pages=across_pages) == expected


@pytest.mark.parametrize("slice_length", [2, 1_000])
def test_flags_survive_an_exit_right_behind_the_instruction_that_sets_them(slice_length: int) -> None:
    program = code("b8 02 00 00 00 83 e8 04 0f a2 eb 00 9c ; mov eax, 2; sub eax, 4; cpuid; jmp $+2; pushf")
    assert int.from_bytes(_flags_pushed(program, slice_length, across_pages=False)[:4], "little") & 0x8D5 == 0x91  # CF, AF, SF
