"""Two ways to count instructions: they come to the same numbers, and leave the same behind after every slice."""

from collections.abc import Callable
from typing import Final
from zlib import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kev.engine.amdv.counting import NATIVE
from kev.engine.amdv.factory import AmdvFactory
from kev.engine.base import Budget
from kev.guests.images import open_image
from kev.machine.builder import MachineOptions
from kev.machine.digest import all_registers, general_registers, memory_checksum
from kev.machine.launcher import prepare
from kev.machine.schedule import CountedScheduler, SeededScheduler, TurnScheduler
from tests.engine.counted import DATA, DEVICE, Observed, State
from tests.examples import examples
from tests.machine.code import code
from tests.machine.cpu import Cpu
from tests.machine.modes import ABSENT_PAGE, EVERY_MODE, KERNEL_PAGE, LONG, LONG_USER, PROTECTED, READ_ONLY_PAGE, TEXT, Mode

pytestmark = pytest.mark.skipif(NATIVE is None, reason="on this host, Unicorn alone counts")

_STEPS: Final = 20_000


def _assert_same(mode: Mode, text: bytes, targets: list[int], lengths: list[int]) -> list[State]:
    expected = Observed(mode, text, targets, None).run(lengths)
    assert Observed(mode, text, targets, NATIVE).run(lengths) == expected
    assert Observed(mode, text, targets, NATIVE, runs_out=True).run(lengths) == expected
    return expected


# Code of any kind.

_ADDRESSES: Final = st.sampled_from(
    (DATA, DATA + 8, DATA + 0xFFE, DATA + 0x2000, DEVICE, DEVICE + 0x10, KERNEL_PAGE, READ_ONLY_PAGE, ABSENT_PAGE)
)


def _with_address(mode: Mode, opcode: str, extension: int, address: int) -> bytes:
    """An instruction whose operand is the memory at `address`; in real mode near by, where FXSAVE does not reach the code."""
    if mode.real:
        return code(opcode) + bytes((extension << 3 | 6,)) + (address & 0xFFF | 0x4000).to_bytes(2, "little")
    absolute = bytes((extension << 3 | 4, 0x25)) if mode in (LONG, LONG_USER) else bytes((extension << 3 | 5,))
    return code(opcode) + absolute + address.to_bytes(4, "little")


def _pieces(mode: Mode) -> st.SearchStrategy[bytes]:
    size = 2 if mode.real else 4

    def number(register: int, value: int) -> bytes:
        return bytes((0xB8 + register,)) + (value & (1 << 8 * size) - 1).to_bytes(size, "little")

    def string(to: int, start: int, count: int, text: str) -> bytes:
        where = b"" if mode.real else number(7, to) + number(6, start)
        return where + number(1, count) + code(text)

    exits = "0fa2 0f31 0f01c1 f4 f390 0f0b cc cd80 cd40 ce 0f05 0f34 ec ed ee ef e430 c3 cf 0f20c0 0f32 0f09 6c 6e"
    others = "9c 9d 50 58 fb fa fb90 8cd08ed0 9c5a f8 f9 fc fd d9e8 dec1 9b 0f58c1 0fc0d8 0fbcc3 0fa3d8 0fabd8 d3e0 d3d8 f7f0 a4 a5"
    memory = "8b 89 01 03 31 87 ff 0fb1 f00fc1 660f7e db 0fae 88"
    strings = "f3a4 f3a5 f3ab f3a6 f2ae f3ad f36c f36d f36e f36f"
    return st.one_of(
        st.builds(
            lambda kind, register, value: bytes((0x83, 0xC0 | kind << 3 | register, value)),
            st.sampled_from((0, 1, 2, 3, 6, 7)),
            st.integers(0, 7),
            st.integers(0, 255),
        ),
        st.builds(number, st.sampled_from((0, 1, 2, 3, 5)), st.sampled_from((0, 1, 0x30, 0x7FFF_FFFF, 0xFFFF_FFFF, DATA))),
        st.builds(
            lambda opcode, extension, address: _with_address(mode, opcode, extension, address),
            st.sampled_from(memory.split()),
            st.integers(0, 7),
            _ADDRESSES,
        ),
        st.builds(
            lambda jump, distance: bytes((jump, distance)),
            st.sampled_from((0x72, 0x74, 0x79, 0x7C, 0xEB)),
            st.sampled_from((0, 2, 3, 0xF0, 0xFE)),
        ),
        st.builds(string, _ADDRESSES, _ADDRESSES, st.integers(0, 5), st.sampled_from(strings.split())),
        st.builds(lambda value: bytes((0xB0, value, 0xE6, 0x30)), st.integers(0, 255)),
        st.just(number(1, 3) + code("43 e2 fd")),
        st.sampled_from([code(text) for text in f"{exits} {others}".split()]),
    )


@st.composite
def _programs(draw: st.DrawFn) -> tuple[Mode, bytes, list[int], list[int]]:
    mode = draw(st.sampled_from(EVERY_MODE))
    pieces = draw(st.lists(_pieces(mode), min_size=4, max_size=30))
    starts = [sum(map(len, pieces[:index])) for index in range(len(pieces))]
    targets = draw(st.lists(st.sampled_from(starts), min_size=1, max_size=7))
    lengths = draw(st.lists(st.sampled_from((1, 2, 3, 5, 8, 20, 100, 300)), min_size=20, max_size=20))
    return mode, b"".join(pieces) + code("eb fe"), targets, lengths


@settings(max_examples=examples(60))
@given(_programs())
def test_any_code_is_the_same_after_every_slice(program: tuple[Mode, bytes, list[int], list[int]]) -> None:
    mode, text, targets, lengths = program
    _assert_same(mode, text, targets, lengths)


# Each way in which a block is left early, met at every place in a slice.

_AGAIN: Final = code("eb 00")
_LEFT_EARLY: Final = {
    "a load from a device": "40 8b 1d 00 00 0e 00 43 41",
    "a store to a device that ends the slice": "b8 03 00 00 00 a3 00 00 0e 00 43 41",
    "a store to a device that shortens the slice": "b8 14 00 00 00 a3 00 00 0e 00 43 41 43 41 43",
    "a load from a device by its last instruction": "40 ff 25 00 00 0e 00",
    "IN": "40 e4 30 43 41",
    "OUT that raises an interrupt": "fb b0 01 e6 30 43 41",
    "OUT that raises an interrupt under a shadow": "b0 01 fa e6 30 43 fb 41 43",
    "OUT that raises an NMI": "b0 02 e6 30 43 41",
    "REP INSD": "bf 00 00 05 00 b9 03 00 00 00 ba 30 00 00 00 f3 6d 43 41",
    "REP MOVSB between pages": "bf fe 0f 05 00 be 00 10 06 00 b9 05 00 00 00 f3 a4 43",
    "REP MOVSD from a device": "bf 00 00 05 00 be 00 00 0e 00 b9 03 00 00 00 f3 a5 43",
    "an exception": "43 41 f7 f0 43",
    "an undefined instruction": "43 41 0f 0b 43",
    "a page fault": "43 a1 00 20 0d 00 43",
    "a violation": "43 ff 05 00 50 07 00 41 ff 05 00 60 07 00 43",
    "INT": "43 cd 80 43",
    "an intercepted instruction": "43 0f a2 41 0f 31 43",
    "a hypercall": "43 0f 01 c1 43",
    "a change of paging": "43 0f 20 c0 0f 22 c0 43 0f 20 d8 0f 22 d8 41",
    "a step": "43 9c 81 0c 24 00 01 00 00 9d 43 41 43",
    "a port string that loops": "ba 30 00 00 00 b9 02 00 00 00 be 00 00 05 00 f3 6e e2 f5 43",
}


@pytest.mark.parametrize("text", _LEFT_EARLY.values(), ids=_LEFT_EARLY)
@pytest.mark.parametrize("length", [1, 2, 3, 5, 7, 11, 300])
def test_a_block_that_is_left_early(text: str, length: int) -> None:
    instructions = code(text)
    back = b"\xe9" + (-len(instructions) - 5 & 0xFFFF_FFFF).to_bytes(4, "little")
    _assert_same(PROTECTED, instructions + back, [0], [length] * 30)


@pytest.mark.parametrize("length", [1, 2, 3, 4, 5, 6, 7, 100])
@pytest.mark.parametrize("distance", [0, 1, 2, 5])
def test_an_instruction_that_stores_into_its_own_block(length: int, distance: int) -> None:
    """Flags aside, which Unicorn's counter does not keep then: there are none."""
    target = TEXT + 9 + distance
    text = code("b8 90 90 90 90") + b"\xc6\x05" + target.to_bytes(4, "little") + b"\x90" + code("90 90 90 90 90 90 90 90 eb fe")
    _assert_same(PROTECTED, text, [0], [length] * 20)


@pytest.mark.parametrize("instructions", [10, 16, 17, 60, 150, 400, 600, 1500])
@pytest.mark.parametrize("length", [7, 100, 1000])
def test_a_long_block(instructions: int, length: int) -> None:
    """It ends in the middle of a page, or reaches into pages that are not there yet."""
    for before in (0, 0x1000 - instructions, 0x1000 - instructions // 2):
        text = b"\xe9" + before.to_bytes(4, "little") + bytes(before) + b"\x43" * instructions
        back = b"\xe9" + (-len(text) - 5 & 0xFFFF_FFFF).to_bytes(4, "little")
        _assert_same(PROTECTED, text + back, [0], [length] * 12)


def test_nothing_is_executed_beyond_the_last_instruction_of_a_slice() -> None:
    with Cpu(b"\x40" * 50 + code("eb cc"), counting=NATIVE) as cpu:
        for executed in range(1, 200):
            cpu.run_slice(Budget(instructions=1))
            assert cpu.vcpu.instructions == executed
        assert cpu.vcpu.rax == 199 - 199 // 51


# Guests.


def _run(guest: str, scheduler: TurnScheduler, vcpus: int, *, natively: bool) -> tuple[object, ...]:
    seen = 0
    output = bytearray()
    with open_image(guest) as (source, _):
        machine = prepare(
            source,
            output=output.extend,
            options=MachineOptions(virtual_time=True, boot_time=0, vcpus=vcpus, random_seed=1),
            engines=AmdvFactory(counts_natively=natively),
        )
        vm = machine.vm
        for _ in range(_STEPS):
            step = vm.step(scheduler)
            registers = [(vcpu.state.instructions, *general_registers(vcpu)) for vcpu in vm.vcpus]
            seen = crc32(f"{step} {vm.clock.now()} {registers}".encode(), seen)
            if vm.ending is not None:
                break
        found = seen, bytes(output), vm.exits, [all_registers(vcpu) for vcpu in vm.vcpus], memory_checksum(vm), str(vm.ending)
        vm.engine.close()
        return found


@pytest.mark.parametrize(
    ("guest", "vcpus"),
    [
        ("smp", 4),
        ("lost-update", 2),
        ("timer", 1),
        ("events", 1),
        ("events32", 1),
        ("events16", 1),
        ("user", 1),
        ("gKeOS", 1),
        ("virtio", 1),
    ],
)
@pytest.mark.parametrize(
    "scheduler",
    [lambda: SeededScheduler(1, 500), lambda: CountedScheduler(97), lambda: CountedScheduler(20_000)],
    ids=["random", "short", "long"],
)
def test_a_guest_is_the_same_after_every_slice(guest: str, vcpus: int, scheduler: Callable[[], TurnScheduler]) -> None:
    assert _run(guest, scheduler(), vcpus, natively=True) == _run(guest, scheduler(), vcpus, natively=False)
