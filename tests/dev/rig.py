"""A rig for tests of any device: buses, memory, time, interrupt lines, and accesses as data."""

import copy
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, TypeAlias

from hypothesis import strategies as st

from kev.addressing import PAGE_SIZE, Gpa
from kev.clock import Timer, TimerQueue, VirtualClock
from kev.dev.base import Device, MmioDevice
from kev.dev.buses.mmio import MmioBus
from kev.dev.buses.msrs import MsrBus
from kev.dev.buses.ports import PortBus
from kev.dev.clocks.time_stamp_counter import TimeStampCounters
from kev.dev.devices import Buses, Devices
from kev.dev.interrupts.irq import InterruptControllers
from kev.dev.pci.bus import PciBus
from kev.dev.surroundings import Picture, ReplacingLine, SecondaryDrive, Surroundings
from kev.errors import KevError
from tests.dev.board import Processors
from tests.dev.ram import Ram, TestDisk
from tests.dev.screen import Screen

VCPUS = 2


class Output:
    """What devices print."""

    def __init__(self) -> None:
        self.printed = bytearray()

    def put(self, byte: int) -> None:
        self.printed.append(byte)

    put_debug = put

    def write(self, data: bytes) -> None:
        self.printed += data


class Access(NamedTuple):
    """One access of a vCPU, or a wait."""

    kind: str
    """"port", "msr", "mmio", "wait", or what the devices' host does, by name."""
    address: int = 0
    size: int = 1
    value: int | None = None
    """None for a read. How many nanoseconds, for a wait."""
    vcpu: int = 0


class Rig:
    """Devices with everything around them. `build` makes those that it is about."""

    def __init__(self, build: "Build") -> None:
        self.clock = VirtualClock()
        self.timers = TimerQueue(self.clock)
        self.ram = Ram(1 << 18)
        self.disks = [TestDisk(64), TestDisk(8)]
        self.output = Output()
        self.shown: Picture | None = None
        self.bank: int | None = None
        self.screen = Screen()
        self.processors = Processors()
        self.levels: dict[int, bool] = {}
        """Of the interrupt lines, by number; those of the same number are one."""
        self.events: list[object] = []
        """Edges of the interrupt lines, with their time, and ends of the run."""
        self.buses = Buses(PortBus(strict=True), MsrBus(), MmioBus(), PciBus())
        self.counters = TimeStampCounters(VCPUS, self.clock)
        self.controllers = InterruptControllers(self.counters, self.clock, self.timers, self.processors)
        self.machine = Surroundings(
            vcpus=VCPUS,
            ram=(range(1 << 28),),
            clock=self.clock,
            timers=self.timers,
            boot_time=1_700_000_000,
            memory=self.ram,
            line=self.line,
            replacing_line=self.replacing_line,
            console=self.output,
            screen=self.screen,
            display=self,
            end=lambda code: self.events.append(("end", code)),
            reset=lambda: self.events.append(("end", 0)),
            ide_disks=[disk.disk for disk in self.disks],
            secondary_ide=[SecondaryDrive(self.disks[0].disk, is_cd=True), SecondaryDrive(self.disks[1].disk)],
        )
        self.devices = Devices(self.buses, self.machine)
        for device in build(self):
            self.devices.attach(device)

    def line(self, number: int) -> Callable[[bool], None]:
        self.levels[number] = False

        def set_level(asserted: bool) -> None:
            if self.levels[number] is not asserted:
                self.levels[number] = asserted
                self.events.append((number, asserted, self.clock.now()))

        return set_level

    def replacing_line(self, number: int) -> ReplacingLine:
        """Cuts nothing off; a switch is noted."""
        return ReplacingLine(self.line(-number - 1), lambda replaces: self.events.append((number, "replaced", replaces)))

    def show(self, wanted: Picture | None) -> None:
        self.shown = wanted

    def show_bank(self, start: int | None) -> None:
        self.bank = start

    def clear_framebuffer(self) -> None:
        self.events.append("cleared")

    def do(self, access: Access) -> object:
        """What a vCPU gets for an access; for an error, its text."""
        try:
            return self._do(access)
        except KevError as error:
            return f"{type(error).__name__}: {error}"

    def _do(self, access: Access) -> object:
        kind, address, size, value, vcpu = access
        match kind:
            case "line":
                self.controllers.pic.set_line(address, bool(value))
                self.controllers.io_apic.set_line(address, bool(value))
            case "take":
                return self._take(vcpu)
            case "receive":
                self._receive(bytes((address,)) * size)
            case "wait":
                self._wait(value or 0)
            case _:
                return self._read(access) if value is None else self._write(access, value)
        return None

    def _read(self, access: Access) -> object:
        kind, address, size, _, vcpu = access
        if kind == "port":
            return self.buses.ports.read(address, size)
        return self.buses.msrs.read(vcpu, address) if kind == "msr" else self.buses.mmio.load(vcpu, Gpa(address), size)

    def _write(self, access: Access, value: int) -> object:
        kind, address, size, _, vcpu = access
        if kind == "msr":
            return self.buses.msrs.write(vcpu, address, value)
        if kind == "port":
            self.buses.ports.write(address, size, value)
        else:
            self.buses.mmio.store(vcpu, Gpa(address), size, value)
        return None

    def _take(self, vcpu: int) -> int | None:
        apics = self.controllers.local_apics
        vector = apics.pending(vcpu)
        if vector is not None:
            apics.acknowledge(vcpu, vector)
        return vector

    def _receive(self, data: bytes) -> None:
        """Input goes to the first device that takes any."""
        for device in self.devices:
            receive = getattr(device, "receive", None)
            if receive is not None:
                receive(data)
                return

    def _wait(self, nanoseconds: int) -> None:
        """Lets time pass, with every timer on its own deadline."""
        end = self.clock.now() + nanoseconds
        while (deadline := self.timers.next_deadline()) is not None and deadline <= end:
            self.clock.advance_to(deadline)
            self.timers.run_due()
        self.clock.advance_to(end)

    def witness(self, accesses: Iterable[Access]) -> object:
        """Everything that these accesses show of the devices."""
        self.events.clear()
        self.processors.events.clear()
        self.output.printed.clear()
        answers = [self.do(access) for access in accesses]
        pending = [self.controllers.local_apics.pending(vcpu) for vcpu in range(VCPUS)]
        memory = bytes(self.ram.bytes), [disk.contents for disk in self.disks], self.screen.registers
        return answers, self.levels, list(self.events), list(self.processors.events), bytes(self.output.printed), pending, memory

    def inside(self) -> dict[str, object]:
        """Every value in the devices, by where it is: also what no access shows."""
        found: dict[str, object] = {}
        known = [self, *vars(self).values(), *self.buses, *self.devices, *(disk.disk for disk in self.disks)]
        for device in self.devices:
            _look_inside(device, device.name, found, [id(part) for part in known])
        return found

    def copy_surroundings(self, other: "Rig") -> None:
        """Time, timers, memory and disks become those of `other`."""
        self.clock.load(other.clock.save())
        self.timers.load(other.timers.save())
        self.ram.bytes[:] = other.ram.bytes
        for disk, saved in zip(self.disks, other.disks, strict=True):
            disk.file.seek(0)
            disk.file.write(saved.contents)
        self.processors.events = copy.copy(other.processors.events)


_COUNTED_FOR_THE_HOST = frozenset({"looks"})
"""What no guest sees, and nobody saves."""


def _look_inside(thing: object, path: str, found: dict[str, object], known: list[int]) -> None:
    known.append(id(thing))
    for name in (slot for kind in type(thing).__mro__ for slot in getattr(kind, "__slots__", ()) if not slot.startswith("__")):
        if name in _COUNTED_FOR_THE_HOST:
            continue
        value = getattr(thing, name)
        for index, part in enumerate(value if isinstance(value, tuple | list) else (value,)):
            place = f"{path}.{name}[{index}]"
            if isinstance(part, Timer):
                found[place] = part.deadline, part.order
            elif part is None or isinstance(part, int | str | bytes | bytearray | memoryview | deque | range):
                found[place] = bytes(part) if isinstance(part, memoryview) else repr(part)
            elif type(part).__module__.startswith("kev.dev.") and id(part) not in known:
                _look_inside(part, place, found, known)


Build: TypeAlias = Callable[[Rig], Sequence[Device]]


Moves: TypeAlias = st.SearchStrategy[list[Access]]
"""Accesses that belong together."""


def accesses(build: Build, values: Sequence[int] = (), moves: Moves | None = None, host: Sequence[str] = ()) -> Moves:
    """Random accesses to the devices that `build` makes, many with one of `values`, or as in `moves`.

    Between them time passes, and their host does what it can, by name.
    """
    rig = Rig(build)
    worthwhile = st.sampled_from(sorted({0, 1, 0xFF, *values}))
    numbers = st.one_of(worthwhile, worthwhile, st.integers(0, 0xFF), st.integers(0, 0xFFFF_FFFF))
    value = st.one_of(st.none(), numbers, numbers)
    kinds: list[st.SearchStrategy[Access]] = [st.builds(lambda time: Access("wait", value=time), _TIMES)]
    for device in rig.devices:
        kinds += _accesses_to(device, value)
    kinds += [_HOST[name] for name in host]
    single = st.one_of(kinds).map(lambda access: [access])
    several = single if moves is None else st.one_of(single, moves, moves)
    return st.lists(several, min_size=4, max_size=25).map(lambda parts: [access for part in parts for access in part])


def indexed(index: int, data: int, registers: Sequence[int], values: Sequence[int] = ()) -> Moves:
    """A register is chosen at port `index` and accessed at port `data`."""
    return st.builds(
        lambda register, value: [Access("port", index, 1, register), Access("port", data, 1, value)],
        st.sampled_from(registers),
        _values(values),
    )


def words(gpa: int, registers: Sequence[int], values: Sequence[int] = ()) -> Moves:
    """A register of 32 bits is accessed."""
    return st.builds(
        lambda register, value, vcpu: [Access("mmio", gpa + register, 4, value, vcpu)],
        st.sampled_from(registers),
        _values(values),
        st.integers(0, VCPUS - 1),
    )


def bytes_to(*places: tuple[int, Sequence[int]]) -> Moves:
    """A byte is written to one port after the other, each one of some."""
    return st.tuples(
        *(st.builds(Access, st.just("port"), st.just(port), st.just(1), st.sampled_from(v)) for port, v in places)
    ).map(list)


def _values(values: Sequence[int]) -> st.SearchStrategy[int | None]:
    return st.one_of(st.none(), st.sampled_from(values or range(0x100)), st.sampled_from(values or range(0x100)))


_TIMES = st.one_of(st.integers(0, 10_000), st.integers(0, 5_000_000), st.integers(0, 3_000_000_000))
_HOST = {
    "line": st.builds(Access, st.just("line"), st.sampled_from((1, 3, 5, 9, 11, 15)), value=st.integers(0, 1)),
    "take": st.builds(Access, st.just("take"), vcpu=st.integers(0, VCPUS - 1)),
    "receive": st.builds(Access, st.just("receive"), st.integers(0, 0xFF), st.integers(1, 20)),
}


def _accesses_to(device: Device, value: st.SearchStrategy[int | None]) -> list[st.SearchStrategy[Access]]:
    found = []
    vcpu = st.integers(0, VCPUS - 1)
    ports = [(port, 1) for ports in getattr(device, "ports", ()) for port in ports]
    ports += [(port, size) for ports in getattr(device, "wide_ports", ()) for port in ports for size in (2, 4)]
    if ports:
        found.append(st.builds(_access, st.just("port"), st.sampled_from(ports), value, vcpu))
    msrs = [(index, 8) for indices in getattr(device, "msrs", ()) for index in indices]
    if msrs:
        found.append(st.builds(_access, st.just("msr"), st.sampled_from(msrs), value, vcpu))
    if isinstance(device, MmioDevice):
        pages = range(device.gpa, device.gpa + min(device.length, 4 * PAGE_SIZE), PAGE_SIZE)
        places = [(page + register, size) for page in pages for register in range(0, 0x110, 4) for size in (1, 2, 4, 4, 8)]
        found.append(st.builds(_access, st.just("mmio"), st.sampled_from(places), value, vcpu))
    return found


def _access(kind: str, place: tuple[int, int], value: int | None, vcpu: int) -> Access:
    address, size = place
    return Access(kind, address, size, None if value is None else value & (1 << 8 * size) - 1, vcpu)
