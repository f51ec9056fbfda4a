"""Exits that the engine answers itself: the guest finds what it would find if each were told."""

import ctypes
import struct
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kev
from kev.addressing import PAGE_SIZE, Gpa
from kev.dev.buses.ports import PortBus
from kev.engine.amdv.shortcuts import NATIVE
from kev.engine.base import Budget
from kev.exits import Exit, IoIn, IoOut, MmioRead, MmioWrite, PreemptionTimer, Rdtsc, Reply, Vmcall, Wrmsr
from tests.abi.calls import POWER_OFF, kernel
from tests.boot.images import source
from tests.examples import examples
from tests.machine.code import VMCALL, code
from tests.machine.cpu import Cpu
from tests.machine.modes import EVERY_MODE, LONG, LONG_USER, PROTECTED, PROTECTED_USER, REAL, TEXT, Mode, cpu_in, delivery

NEVER_BACK = 1 << 64
LATER = 1 << 40
DEVICE = 0xE0000
DATA = 0x30000
DATA_PAGES = 2
PORT, FORBIDDEN_PORT = 0x10, 0x60
BLOCK = 512
TRAP = 1 << 8
IMPLEMENTATIONS = [NATIVE, None] if NATIVE is not None else [None]
READ_COUNTER = code("48 83 c8 ff 48 83 ca ff ; or rax, -1; or rdx, -1") + code("0f 31 ; rdtsc")


@pytest.fixture(params=IMPLEMENTATIONS, ids=["native", "python"][-len(IMPLEMENTATIONS) :])
def native(request: pytest.FixtureRequest) -> ctypes.CDLL | None:
    found: ctypes.CDLL | None = request.param
    return found


def counter(cpu: Cpu, vcpu: int = 0) -> int:
    """What RDTSC has left in the registers."""
    state = cpu.vcpus[vcpu]
    assert state.rax < 1 << 32
    assert state.rdx < 1 << 32
    return state.rdx << 32 | state.rax


# RDTSC


@pytest.mark.parametrize("offset", [0, LATER, -LATER], ids=["0", "ahead", "behind"])
def test_the_counter_is_the_hosts_clock_at_an_offset(offset: int, native: ctypes.CDLL | None) -> None:
    exits: dict[type, int] = {}
    with cpu_in(LONG, READ_COUNTER + VMCALL, native=native) as cpu:
        cpu.engine.take_shortcuts(exits)
        cpu.engine.set_time_stamp_counter(cpu.vcpu, offset)
        before = time.perf_counter_ns()
        assert cpu.run() == Vmcall()
        after = time.perf_counter_ns()
        assert (counter(cpu) - offset - before) % NEVER_BACK <= after - before
        assert cpu.vcpu.rip == TEXT + len(READ_COUNTER)
        assert not cpu.told(Rdtsc)
        cpu.engine.count_shortcuts()
        assert exits == {Rdtsc: 1}


def test_rdtscp_gives_the_processors_number_as_well(native: ctypes.CDLL | None) -> None:
    text = code("b9 03 01 00 c0 b8 05 00 00 00 31 d2 0f 30 ; mov ecx, TSC_AUX; mov eax, 5; xor edx, edx; wrmsr\n 0f 01 f9 ; rdtscp")
    with cpu_in(LONG, text + VMCALL, native=native) as cpu:
        cpu.engine.take_shortcuts({})
        cpu.engine.set_time_stamp_counter(cpu.vcpu, 0)
        assert cpu.run() == Vmcall()
        assert 0 < counter(cpu) <= time.perf_counter_ns()
        assert (cpu.vcpu.rcx, cpu.vcpu.rip) == (5, TEXT + len(text))
        assert not cpu.told(Rdtsc)


@pytest.mark.parametrize("instruction", ["0f 31", "0f 01 f9"], ids=["RDTSC", "RDTSCP"])
@pytest.mark.parametrize("mode", [LONG_USER, PROTECTED_USER], ids=lambda mode: mode.name)
def test_programs_get_gp_while_tsd_is_set(mode: Mode, instruction: str, native: ctypes.CDLL | None) -> None:
    with cpu_in(mode, code(instruction) + VMCALL, native=native) as cpu:
        cpu.engine.take_shortcuts({})
        cpu.engine.set_time_stamp_counter(cpu.vcpu, 0)
        run_until(cpu, TEXT)
        cpu.vcpu.cr4 |= 1 << 2
        found = delivery(cpu, mode, cpu.run(), error_code=True)
        assert (found.vector, found.error_code, found.rip) == (13, 0, TEXT)


def run_until(cpu: Cpu, rip: int) -> None:
    cpu.engine.set_breakpoints(frozenset({rip}))
    cpu.run()
    assert cpu.vcpu.rip == rip
    cpu.engine.set_breakpoints(frozenset())
    cpu.engine.pass_breakpoint(cpu.vcpu)


def test_a_kernel_may_read_the_counter_while_tsd_is_set(native: ctypes.CDLL | None) -> None:
    text = code("0f 20 e0 83 c8 04 0f 22 e0 0f 31 ; mov rax, cr4; or eax, TSD; mov cr4, rax; rdtsc")
    with cpu_in(LONG, text + VMCALL, native=native, answers={Rdtsc: lambda _: 0x1_0000_0002}) as cpu:
        cpu.engine.take_shortcuts({})
        cpu.engine.set_time_stamp_counter(cpu.vcpu, 0)
        assert cpu.run() == Vmcall()
        assert counter(cpu) == 0x1_0000_0002


def test_every_exit_is_told_in_counted_slices_and_when_shortcuts_are_taken_back(native: ctypes.CDLL | None) -> None:
    exits: dict[type, int] = {}
    text = READ_COUNTER + VMCALL
    with cpu_in(LONG, text * 4, native=native, answers={Rdtsc: lambda _: 7}) as cpu:
        engine = cpu.engine
        engine.take_shortcuts(exits)
        engine.set_time_stamp_counter(cpu.vcpu, LATER)
        found = []
        for step, slice_length in enumerate((1000, None, None, 1000)):
            engine.take_shortcuts(None if step == 2 else exits)
            assert cpu.run(slice_length) == Vmcall()
            found.append(counter(cpu))
            cpu.vcpu.rip += len(VMCALL)
        engine.count_shortcuts()
        assert [value == 7 for value in found] == [True, False, True, True]
        assert len(cpu.told(Rdtsc)) == 3
        assert exits == {Rdtsc: 1}


def test_a_counter_that_the_guest_sets_goes_on_from_there_at_once(native: ctypes.CDLL | None) -> None:
    def set_counter(exit: Exit) -> Reply:
        assert isinstance(exit, Wrmsr)
        cpu.engine.set_time_stamp_counter(cpu.vcpu, exit.value - time.perf_counter_ns())
        return 0

    text = code("b9 10 00 00 00 31 c0 ba 00 00 01 00 0f 30 ; mov ecx, TSC; xor eax, eax; mov edx, 0x10000; wrmsr") + READ_COUNTER
    with cpu_in(LONG, text + VMCALL, native=native, answers={Wrmsr: set_counter}) as cpu:
        cpu.engine.take_shortcuts({})
        cpu.engine.set_time_stamp_counter(cpu.vcpu, 0)
        assert cpu.run() == Vmcall()
        assert counter(cpu) >> 48 == 1


def test_each_vcpu_has_its_own_counter(native: ctypes.CDLL | None) -> None:
    with Cpu(READ_COUNTER[8:] + VMCALL, vcpus=2, native=native) as cpu:
        cpu.engine.take_shortcuts({})
        for number, vcpu in enumerate(cpu.vcpus):
            cpu.engine.set_time_stamp_counter(vcpu, number << 62)
        for number in (1, 0):
            assert cpu.run(vcpu=number) == Vmcall()
        assert [counter(cpu, number) >> 62 for number in (0, 1)] == [0, 1]


def test_the_machines_counter_is_one_however_it_is_read() -> None:
    """RDTSC, RDMSR and RDTSC again, also after the guest has moved it."""
    read_msr = "b9 10 00 00 00 0f 32 ; mov ecx, TSC; rdmsr\n"
    keep = "89 {0} 89 {1} ; mov [edi + n], eax and edx\n"
    show = "be 00 00 20 00 b9 30 00 00 00 66 ba e9 00 f3 6e ; mov esi, 0x200000; mov ecx, 48; mov dx, 0xe9; rep outsb"
    text, offset = "bf 00 00 20 00 ; mov edi, 0x200000\n", 0
    for move in ("", "b9 10 00 00 00 b8 00 00 00 00 ba 00 00 00 40 0f 30 ; wrmsr\n"):
        text += move
        for read in ("0f 31 ; rdtsc\n", read_msr, "0f 31\n"):
            text += read + keep.format(f"47 {offset:02x}", f"57 {offset + 4:02x}")
            offset += 8
    report = kev.launch(source(kernel(code(text + show) + POWER_OFF)), memory=16 << 20, timeout=30)
    assert report.exit_code == 0
    assert report.output is not None
    values = struct.unpack("<6Q", report.output)
    assert values[:3] == tuple(sorted(values[:3]))
    assert values[2] < 1 << 62
    assert values[3:] == tuple(sorted(values[3:]))
    assert values[3] >= 1 << 62
    assert report.exits["Rdtsc"] == 4


@pytest.mark.parametrize("seed", [None, 1])
def test_whoever_wants_to_see_exits_is_told_all(seed: int | None) -> None:
    told: list[str] = []
    text = code("0f 31 a1 20 00 e0 fe a1 20 00 e0 fe ; rdtsc; mov eax, [APIC ID]; mov eax, [APIC ID]")
    report = kev.launch(source(kernel(text + POWER_OFF)), memory=16 << 20, timeout=30, trace_exits=told.append, seed=seed)
    kinds = [line.split()[3] for line in told]
    assert (kinds.count("Rdtsc"), kinds.count("MmioRead")) == (1, 2)
    assert (report.exits["Rdtsc"], report.exits["MmioRead"]) == (1, 2)


def test_an_exit_that_ends_a_slice_is_told_once() -> None:
    told: list[str] = []
    report = kev.launch("hypercalls", timeout=30, trace_exits=told.append)
    kinds = [line.split()[3] for line in told]
    assert kinds.count("Vmcall") == report.exits["Vmcall"] == 2
    assert told[-1].endswith("Vmcall number 0x0 -> ends the slice")


# Loads


def load(offset: int, size: int) -> bytes:
    """An access of 1, 2, 4 or 8 bytes to DEVICE, whose value is pushed."""
    prefix = {1: b"\x8a", 2: b"\x66\x8b", 4: b"\x8b", 8: b"\x48\x8b"}[size]
    return b"\x31\xc0" + prefix + b"\x87" + struct.pack("<i", offset) + b"\x50"


KEPT = st.dictionaries(st.integers(0, 15).map(lambda register: 4 * register), st.integers(0, 0xFFFF_FFFF))
ACCESSES = st.lists(st.tuples(st.integers(0, 56), st.sampled_from([1, 2, 4, 8])), min_size=1, max_size=8)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS, ids=["native", "python"][-len(IMPLEMENTATIONS) :])
@settings(max_examples=examples(40))
@given(KEPT, ACCESSES)
def test_a_load_gives_what_it_would_be_told(
    implementation: ctypes.CDLL | None, kept: Mapping[int, int], accesses: list[tuple[int, int]]
) -> None:
    registers = bytearray(range(0x40, 0x80))
    for offset, value in kept.items():
        registers[offset : offset + 4] = value.to_bytes(4, "little")

    def tell(exit: Exit) -> int:
        assert isinstance(exit, MmioRead)
        offset = exit.gpa - DEVICE
        return int.from_bytes(registers[offset : offset + exit.size], "little")

    text = b"\xbf" + struct.pack("<I", DEVICE) + b"".join(load(offset, size) for offset, size in accesses)
    found: dict[bool, list[int]] = {}
    told: dict[bool, int] = {}
    for shortcuts in (False, True):
        exits: dict[type, int] = {}
        with cpu_in(LONG, text + VMCALL, native=implementation, answers={MmioRead: tell}) as cpu:
            cpu.table.map_device_page(DEVICE, cpu.engine.map_window(Gpa(DEVICE), PAGE_SIZE))
            if shortcuts:
                cpu.engine.take_shortcuts(exits)
                for offset, value in kept.items():
                    cpu.engine.keep_load(cpu.vcpu, Gpa(DEVICE + offset), value)
            assert cpu.run() == Vmcall()
            cpu.engine.count_shortcuts()
            found[shortcuts] = [cpu.read(cpu.vcpu.rsp + 8 * number, 8) for number in range(len(accesses))]
            told[shortcuts] = len(cpu.told(MmioRead)) + exits.get(MmioRead, 0)
    assert found[True] == found[False]
    assert told[True] == told[False]


def test_kept_loads_are_each_vcpus_own_and_are_told_again_when_forgotten(native: ctypes.CDLL | None) -> None:
    text = b"\xa1" + struct.pack("<I", DEVICE + 0x20) + VMCALL
    with Cpu(text * 4, vcpus=2, native=native, answers={MmioRead: lambda _: 9}) as cpu:
        engine, (first, second) = cpu.engine, cpu.vcpus
        cpu.table.map_device_page(DEVICE, engine.map_window(Gpa(DEVICE), PAGE_SIZE))
        engine.take_shortcuts({})
        engine.keep_load(first, Gpa(DEVICE + 0x20), 1)

        def loaded(vcpu: int, slice_length: int | None = None) -> int:
            assert cpu.run(slice_length, vcpu) == Vmcall()
            cpu.vcpus[vcpu].rip += len(VMCALL)
            return cpu.vcpus[vcpu].rax

        assert [loaded(0), loaded(1)] == [1, 9]
        engine.keep_load(second, Gpa(DEVICE + 0x20), 2)
        assert [loaded(0), loaded(1)] == [1, 2]
        engine.forget_loads(first)
        assert [loaded(0), loaded(1)] == [9, 2]
        assert [loaded(0), loaded(1, 1000)] == [9, 9]


def test_a_count_that_falls_is_what_is_left_of_it(native: ctypes.CDLL | None) -> None:
    text = b"\xa1" + struct.pack("<I", DEVICE + 0x390) + VMCALL
    second, divisor = 1_000_000_000, 16
    with Cpu(text * 4, native=native, answers={MmioRead: lambda _: 9}) as cpu:
        engine = cpu.engine
        cpu.table.map_device_page(DEVICE, engine.map_window(Gpa(DEVICE), PAGE_SIZE))
        engine.take_shortcuts({})

        def loaded(deadline: int, period: int) -> int:
            engine.keep_count(cpu.vcpu, Gpa(DEVICE + 0x390), deadline, divisor, period)
            assert cpu.run() == Vmcall()
            cpu.vcpu.rip += len(VMCALL)
            return cpu.vcpu.rax

        before = time.perf_counter_ns()
        left = loaded(before + 60 * second, NEVER_BACK >> 1)
        after = time.perf_counter_ns()
        assert (before + 60 * second - after) // divisor <= left <= 60 * second // divisor
        assert 1 <= loaded(before + 60 * second, 16 * divisor) <= 16
        assert not cpu.told(MmioRead)
        assert loaded(before, NEVER_BACK >> 1) == 9
        engine.keep_count(cpu.vcpu, Gpa(DEVICE + 0x390), before + 60 * second, divisor, NEVER_BACK >> 1)
        engine.forget_loads(cpu.vcpu)
        assert cpu.run() == Vmcall()
        assert cpu.vcpu.rax == 9
        assert len(cpu.told(MmioRead)) == 2


def test_a_slice_ends_behind_as_many_kept_loads_as_it_may_make(native: ctypes.CDLL | None) -> None:
    text = b"\xa1" + struct.pack("<I", DEVICE + 0x20) + code("43 eb f8 ; inc ebx; jmp to the load")
    exits: dict[type, int] = {}
    with Cpu(text, native=native) as cpu:
        cpu.table.map_device_page(DEVICE, cpu.engine.map_window(Gpa(DEVICE), PAGE_SIZE))
        cpu.engine.take_shortcuts(exits)
        cpu.engine.keep_load(cpu.vcpu, Gpa(DEVICE + 0x20), 1)
        for end in (32, 64):
            assert cpu.run_slice(Budget(seconds=600, kept_loads=32)) == PreemptionTimer()
            assert cpu.vcpu.rbx == end
        cpu.run_slice(Budget(seconds=0.01))
        assert cpu.vcpu.rbx > 128
        cpu.engine.count_shortcuts()
        assert cpu.vcpu.rbx <= exits[MmioRead] <= cpu.vcpu.rbx + 1


def test_a_store_that_makes_the_device_forget_is_seen_by_the_next_load(native: ctypes.CDLL | None) -> None:
    value = 5

    def store(exit: Exit) -> int:
        nonlocal value
        assert isinstance(exit, MmioWrite)
        value = exit.value
        cpu.engine.forget_loads(cpu.vcpu)
        return 0

    def tell(exit: Exit) -> int:
        assert isinstance(exit, MmioRead)
        cpu.engine.keep_load(cpu.vcpu, exit.gpa, value)
        return value

    text = code("8b 07 8b 1f ff 07 8b 0f 8b 17 ; mov eax, [edi]; mov ebx, [edi]; inc [edi]; mov ecx, [edi]; mov edx, [edi]")
    with cpu_in(PROTECTED, b"\xbf" + struct.pack("<I", DEVICE) + text + VMCALL, native=native) as cpu:
        cpu.answers.update({MmioRead: tell, MmioWrite: store})
        cpu.table.map_device_page(DEVICE, cpu.engine.map_window(Gpa(DEVICE), PAGE_SIZE))
        cpu.engine.take_shortcuts({})
        assert cpu.run() == Vmcall()
        vcpu = cpu.vcpu
        assert (vcpu.rax, vcpu.rbx, vcpu.rcx, vcpu.rdx) == (5, 5, 6, 6)
        assert len(cpu.told(MmioRead)) == 2


# INS and OUTS


class Stream:
    """A device of blocks, which are read from it, and to which others are written."""

    def __init__(self, cpu: Cpu, port: int, *, shortcuts: bool, wide: bool = True) -> None:
        self.sent = bytearray()
        self.position = 0
        self._cpu = cpu
        self._bus = PortBus()
        self.ports = [range(port, port + 1)]
        self.wide_ports = self.ports if wide else []
        self.block_ports = [port]
        self.name = "stream"
        self._bus.attach(self)
        cpu.answers.update({IoIn: self._in, IoOut: self._out})
        if shortcuts:
            cpu.engine.take_shortcuts({})
            self._bus.find_iterations = cpu.engine.find_iterations

    def _in(self, exit: Exit) -> int:
        assert isinstance(exit, IoIn)
        return self._bus.read(exit.port, exit.size)

    def _out(self, exit: Exit) -> int:
        assert isinstance(exit, IoOut)
        self._bus.write(exit.port, exit.size, exit.value)
        return 0

    def block_length(self, writes: bool) -> int:
        return BLOCK - (len(self.sent) if writes else self.position) % BLOCK

    def read_port(self, port: int, size: int) -> int:
        start, self.position = self.position, self.position + size
        return int.from_bytes(bytes(self.byte(i) for i in range(start, start + size)), "little")

    def byte(self, position: int) -> int:
        return (7 * position + position // 256) & 0xFF

    def write_port(self, port: int, size: int, value: int) -> None:
        self.sent += value.to_bytes(size, "little")


class Program(Stream):
    """One whose contents are a sector of code."""

    def __init__(self, cpu: Cpu, sector: bytes) -> None:
        super().__init__(cpu, PORT, shortcuts=True)
        self._sector = sector

    def byte(self, position: int) -> int:
        return self._sector[position]


def moves(mode: Mode, **registers: int) -> bytes:
    numbers = {"ecx": 1, "edx": 2, "esi": 6, "edi": 7}
    prefix = b"\x66" if mode.real else b""
    return b"".join(prefix + bytes([0xB8 + numbers[name]]) + struct.pack("<I", value) for name, value in registers.items())


PREFIXES = st.sampled_from(
    [b"", b"\xf3", b"\xf3", b"\xf3", b"\xf2", b"\xf3\x67", b"\xf3\x2e", b"\x26\xf3", b"\x64\xf3", b"\xf3\x66", b"\x66\xf3"]
)
STRINGS = st.tuples(
    PREFIXES,
    st.sampled_from([0x6C, 0x6D, 0x6E, 0x6F]),
    st.one_of(st.integers(0, 300), st.integers(0, 4)),
    st.integers(0, PAGE_SIZE + 64),
    st.booleans(),
)


def strings(mode: Mode, port: int, programs: list[tuple[bytes, int, int, int, bool]]) -> bytes:
    base = 0x8000 if mode.real else DATA
    text = b""
    for prefix, opcode, count, offset, backwards in programs:
        text += moves(mode, ecx=count, edx=port, esi=base + offset, edi=base + offset)
        text += (b"\xfd" if backwards else b"\xfc") + prefix + bytes([opcode])
    return text


@pytest.mark.parametrize("wide", [True, False], ids=["wide", "narrow"])
@pytest.mark.parametrize("port", [PORT, FORBIDDEN_PORT], ids=["port", "forbidden"])
@pytest.mark.parametrize("mode", EVERY_MODE, ids=lambda mode: mode.name)
@settings(max_examples=15)
@given(st.lists(STRINGS, min_size=1, max_size=6), st.booleans(), st.sampled_from([0, 0, 1, 3]))
def test_a_guest_does_not_notice_how_many_iterations_an_exit_has(
    mode: Mode, port: int, wide: bool, programs: list[tuple[bytes, int, int, int, bool]], awaits_pages: bool, below: int
) -> None:
    """`below`: an access of 2 or 4 bytes reaches the device with one that is not its first."""
    text = strings(mode, port - below, programs) + VMCALL
    base = 0x7000 if mode.real else DATA - PAGE_SIZE
    pages = [base + number * PAGE_SIZE for number in range(DATA_PAGES + 3)]
    found = []
    for shortcuts in (False, True):
        with cpu_in(mode, text, {DATA: bytes(range(256)) * 32}) as cpu:
            stream = Stream(cpu, port, shortcuts=shortcuts, wide=wide)
            cpu.awaits_pages = awaits_pages
            exit = cpu.run()
            vcpu = cpu.vcpu
            memory = [bytes(cpu.page(page)) for page in pages]
            registers = (vcpu.rax, vcpu.rcx, vcpu.rdx, vcpu.rsi, vcpu.rdi, vcpu.rsp, vcpu.rip, vcpu.rflags)
            found.append((exit, registers, stream.position, bytes(stream.sent), memory))
    assert found[0] == found[1]


@pytest.mark.parametrize("outs", [b"\xf3", b"\x26\xf3", b"\xf3\x67"], ids=["usual", "another segment", "other addresses"])
@pytest.mark.parametrize("mode", [REAL, PROTECTED, LONG, PROTECTED_USER, LONG_USER], ids=lambda mode: mode.name)
def test_a_sector_is_one_exit_for_each_page_that_it_lies_in(mode: Mode, outs: bytes) -> None:
    elements = 256 if mode.real else 128
    text = strings(mode, PORT, [(b"\xf3", 0x6D, elements, 0, False), (outs, 0x6F, elements, PAGE_SIZE - 256, False)])
    with cpu_in(mode, text + VMCALL) as cpu:
        Stream(cpu, PORT, shortcuts=True)
        assert cpu.run() == Vmcall()
        assert len(cpu.told(IoIn)) == 1
        assert len(cpu.told(IoOut)) == 2


def test_counted_slices_have_an_exit_for_each_iteration_and_count_it() -> None:
    text = strings(PROTECTED, PORT, [(b"\xf3", 0x6D, 128, 0, False)])
    with cpu_in(PROTECTED, text + VMCALL) as cpu:
        Stream(cpu, PORT, shortcuts=True)
        assert cpu.run(10) == Vmcall()
        assert cpu.told(IoIn) == [IoIn(PORT, 4)] * 128


def test_a_guest_that_steps_is_trapped_behind_every_iteration() -> None:
    text = code("fc 68 02 01 00 00 9d ; cld; push TF | 2; popf") + moves(PROTECTED)
    before = moves(PROTECTED, ecx=128, edx=PORT, edi=DATA)
    with cpu_in(PROTECTED, before + text + code("f3 6d ; rep insd") + VMCALL) as cpu:
        Stream(cpu, PORT, shortcuts=True)
        found = delivery(cpu, PROTECTED, cpu.run(), error_code=False)
        assert (found.vector, found.rip, cpu.vcpu.rcx) == (1, TEXT + len(before + text), 127)


@pytest.mark.parametrize("start", [DATA, TEXT + BLOCK], ids=["another page", "the page that is executed"])
def test_code_that_a_sector_replaces_is_executed_as_it_is_then(start: int) -> None:
    """The guest calls a function, reads a sector over it, and calls it again."""
    function = start + 64
    call = b"\xb8" + struct.pack("<I", function) + code("ff d0 ; call eax")
    text = call + code("89 c3 ; mov ebx, eax") + strings(PROTECTED, PORT, [(b"\xf3", 0x6D, 128, start - DATA, False)]) + call
    with cpu_in(PROTECTED, text + VMCALL, {function: code("b8 01 00 00 00 c3 ; mov eax, 1; ret")}) as cpu:
        sector = bytearray(BLOCK)
        sector[64:70] = code("b8 02 00 00 00 c3 ; mov eax, 2; ret")
        Program(cpu, bytes(sector))
        assert cpu.run() == Vmcall()
        assert (cpu.vcpu.rbx, cpu.vcpu.rax) == (1, 2)
        assert len(cpu.told(IoIn)) == 1


def ide(command: int, lba: int, sectors: int, string: int) -> bytes:
    """Moves sectors between the second disk of the IDE channel and memory at 0x200000 + LBA * 512, by REP INSD or OUTSD."""
    registers = ((0x3F6, 2), (0x1F2, sectors), (0x1F3, lba), (0x1F4, 0), (0x1F5, 0), (0x1F6, 0xF0), (0x1F7, command))
    text = b"".join(b"\x66\xba" + struct.pack("<HBBB", port, 0xB0, value, 0xEE) for port, value in registers)
    for number in range(sectors):
        address = 0x200000 + (lba + number) * BLOCK
        text += moves(PROTECTED, ecx=128, edx=0x1F0, esi=address, edi=address) + b"\xfc\xf3" + bytes([string])
    return text


def test_addresses_of_16_bits_wrap_and_leave_the_rest_of_their_registers() -> None:
    """REP INSW from the end of the segment into its beginning, where RCX, RSI and RDI have more bits set."""
    registers = moves(REAL, ecx=0xAAAA_0000 | 8, edx=PORT, esi=0xBBBB_0000 | 0xFFF8, edi=0xCCCC_0000 | 0xFFF8)
    text = registers + code("fc f3 6d ; rep insw")
    text += moves(REAL, ecx=0xAAAA_0000 | 8) + code("f3 6f ; rep outsw")
    with cpu_in(REAL, text + VMCALL) as cpu:
        stream = Stream(cpu, PORT, shortcuts=True)
        assert cpu.run() == Vmcall()
        assert [cpu.read(0xFFF8, 8), cpu.read(0, 8)] == [
            int.from_bytes(bytes(stream.byte(i) for i in range(start, start + 8)), "little") for start in (0, 8)
        ]
        assert bytes(stream.sent) == bytes(stream.byte(i) for i in range(16))
        assert (cpu.vcpu.rcx, cpu.vcpu.rsi, cpu.vcpu.rdi) == (0xAAAA_0000, 0xBBBB_0008, 0xCCCC_0008)
        assert (len(cpu.told(IoIn)), len(cpu.told(IoOut))) == (2, 2)


@pytest.mark.parametrize("seed", [None, 1])
def test_sectors_go_to_and_from_an_ide_disk(seed: int | None, tmp_path: Path) -> None:
    contents = bytes((5 * i + i // BLOCK) & 0xFF for i in range(8 * BLOCK))
    disk = tmp_path / "disk"
    disk.write_bytes(contents)
    show = moves(PROTECTED, ecx=8 * BLOCK, edx=0xE9, esi=0x200000) + code("f3 6e ; rep outsb")
    # Sectors 0 to 3 are written to 4 to 7, and read again.
    copy = ide(0x20, 0, 4, 0x6D) + moves(PROTECTED, ecx=BLOCK, esi=0x200000, edi=0x200000 + 4 * BLOCK) + code("f3 a5 ; rep movsd")
    text = copy + ide(0x30, 4, 4, 0x6F) + ide(0x20, 0, 8, 0x6D) + show + POWER_OFF
    report = kev.launch(source(kernel(text)), memory=16 << 20, timeout=60, disks=[(disk, "ide")], seed=seed)
    assert report.exit_code == 0
    assert report.output == contents[: 4 * BLOCK] * 2
    assert report.exits["IoIn"] == (12 if seed is None else 12 * 128)
