"""What a guest computes, and how many instructions it takes, do not depend on how it is sliced or when its pages come."""

from typing import Final, NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from kev.addressing import PAGE_SIZE
from kev.exits import Cpuid, CpuidResult, Exit, IoIn, Rdtsc, Reply, Vmcall
from tests.examples import examples
from tests.machine.code import code
from tests.machine.cpu import STACK, Cpu

_FIRST_PAGE, _PAGES = 0x20000, 16
_LAST: Final = 0x1234_5678
_END: Final = code("bd 78 56 34 12 0f 01 c1 ; mov ebp, _LAST; vmcall")
_VMCALL_LENGTH: Final = 3
_UNDEFINED: Final = 0x10  # AF, which logical instructions leave undefined

_REGISTERS: Final = st.integers(0, 3)
_ADDRESSES: Final = st.builds(
    lambda page, offset: (_FIRST_PAGE + page * PAGE_SIZE + offset).to_bytes(4, "little"),
    st.integers(0, _PAGES - 1),
    st.sampled_from((0, 8, 0x7FC, 0xFFC, 0xFFE, 0xFFF)),
)
_NUMBERS: Final = st.sampled_from((0, 1, 5, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF)).map(lambda value: value.to_bytes(4, "little"))


def _with_address(*instructions: str) -> st.SearchStrategy[bytes]:
    return st.builds(lambda text, address: code(text) + address, st.sampled_from(instructions), _ADDRESSES)


_ON_MEMORY: Final = _with_address(
    "a3 ; mov [address], eax",
    "a1 ; mov eax, [address]",
    "01 1d ; add [address], ebx",
    "13 05 ; adc eax, [address]",
    "1b 1d ; sbb ebx, [address]",
    "f0 0f c1 05 ; lock xadd [address], eax",
    "0f b1 0d ; cmpxchg [address], ecx",
    "87 05 ; xchg [address], eax",
    "ff 05 ; inc dword [address]",
    "ff 0d ; dec dword [address]",
    "66 0f 7e 05 ; movd [address], xmm0",
    "db 1d ; fistp dword [address]",
)
_STRINGS: Final = st.builds(
    lambda to, start, count, text: b"\xbf" + to + b"\xbe" + start + b"\xb9" + count.to_bytes(4, "little") + code(text),
    _ADDRESSES,
    _ADDRESSES,
    st.integers(0, 5),
    st.sampled_from(
        ("f3 a4 ; movsb", "f3 a5 ; movsd", "f3 ab ; stosd", "f3 a6 ; repe cmpsb", "f2 ae ; repne scasb", "f3 ad ; lodsd")
    ),
)
_PORT_STRINGS: Final = st.builds(
    lambda address, text: b"\xbf" + address + b"\xbe" + address + code("ba 30 00 00 00 b9 03 00 00 00") + code(text),
    _ADDRESSES,
    st.sampled_from(("f3 6c ; insb", "f3 6d ; insd", "f3 6e ; outsb", "f3 6f ; outsd")),
)
_ON_REGISTERS: Final = st.one_of(
    st.builds(lambda register, number: bytes((0xB8 + register,)) + number, _REGISTERS, _NUMBERS),
    st.builds(
        lambda kind, register, value: bytes((0x83, 0xC0 | kind << 3 | register, value)),
        st.integers(0, 7),
        _REGISTERS,
        st.integers(0, 255),
    ),
    st.builds(lambda condition: bytes((0x70 + condition, 2, 0x40, 0x43)), st.integers(0, 15)),
    st.sampled_from(
        [
            code(text)
            for text in ("50", "60", "9c", "9f", "eb 00", "e8 00 00 00 00 58", "b9 03 00 00 00 43 e2 fd", "66 0f 6e c0", "d9 e8")
        ]
    ),
)
_EXITS: Final = st.sampled_from([code(text) for text in ("0f a2", "0f 31", "e4 30", "e6 30", "ed", "0f 01 c1", "0f 20 c3")])
_PROGRAMS: Final = st.lists(st.one_of(_ON_MEMORY, _STRINGS, _PORT_STRINGS, _ON_REGISTERS, _EXITS), min_size=1, max_size=40).map(
    b"".join
)


class Result(NamedTuple):
    registers: tuple[int, ...]
    memory: tuple[bytes, ...]
    told: int


def _run(program: bytes, slice_length: int | None, *, awaits_pages: bool) -> tuple[Result, int]:
    """What became of the machine, and how many instructions it counted."""
    told = 0

    def count(_exit: Exit) -> int:
        nonlocal told
        told += 1
        return told

    def cpuid(exit: Exit) -> Reply:
        return CpuidResult(count(exit), 2, told * 3, 4)

    def go_on(_exit: Exit) -> Reply | None:
        return None if cpu.vcpu.rbp == _LAST else _VMCALL_LENGTH

    with Cpu(program + _END, answers={Cpuid: cpuid, IoIn: count, Rdtsc: count, Vmcall: go_on}) as cpu:
        cpu.awaits_pages = awaits_pages
        cpu.run(slice_length)
        vcpu = cpu.vcpu
        general = (vcpu.rax, vcpu.rbx, vcpu.rcx, vcpu.rdx, vcpu.rsi, vcpu.rdi, vcpu.rsp, vcpu.rip)
        pages = (*(_FIRST_PAGE + page * PAGE_SIZE for page in range(_PAGES + 1)), STACK - PAGE_SIZE)
        memory = tuple(bytes(cpu.page(page)) for page in pages)
        return Result((*general, vcpu.rflags & ~_UNDEFINED), memory, told), vcpu.instructions


@settings(max_examples=examples(60))
@given(_PROGRAMS, st.integers(1, 8), st.booleans())
def test_a_guest_does_not_notice_how_it_is_sliced(program: bytes, slice_length: int, awaits_pages: bool) -> None:
    expected, _ = _run(program, None, awaits_pages=False)
    whole, instructions = _run(program, 10_000, awaits_pages=False)
    sliced, as_many = _run(program, slice_length, awaits_pages=awaits_pages)
    assert whole == expected
    assert sliced == expected
    assert as_many == instructions
