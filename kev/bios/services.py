"""The BIOS: what is done when the ROM's handlers exit."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from kev.addressing import Gpa
from kev.bios.call import BiosCall, CallerMemory, NotServed, Service
from kev.bios.clock import ClockServices
from kev.bios.data_area import Address, DataArea
from kev.bios.disk import DiskServices
from kev.bios.drives import BootDrive, Drive
from kev.bios.keyboard import KeyboardServices
from kev.bios.lines import LineServices
from kev.bios.paper import Paper
from kev.bios.pci import PciServices
from kev.bios.power import PowerServices
from kev.bios.rom import BOOT_SECTOR, START, VMCALL, vector_at
from kev.bios.system import UNSUPPORTED, SystemServices
from kev.bios.video import Video
from kev.clock import Clock
from kev.dev.block_device import SECTOR_SIZE
from kev.dev.buses.ports import PortBus
from kev.dev.display.screen import VgaScreen
from kev.engine.base import VcpuState
from kev.errors import KevError
from kev.pager.memory_region import MemoryRegion

_EXCEPTIONS: Final = {0x00: "#DE", 0x06: "#UD", 0x07: "#NM", 0x0C: "#SS", 0x0D: "#GP"}
"""Those that come again and again if a handler does nothing but return."""
_MASTER: Final = range(0x08, 0x10)
_SLAVE: Final = range(0x70, 0x78)
"""Vectors of the interrupt controllers."""
_MASTER_COMMAND: Final = 0x20
_SLAVE_COMMAND: Final = 0xA0
_END_OF_INTERRUPT: Final = 0x20
_READ_IN_SERVICE: Final = 0x0B
_READ_REQUESTS: Final = 0x0A
_SILENT: Final = frozenset({0x01, 0x02, 0x03, 0x04, 0x1B, 0x1C, 0x23, 0x4A})
"""Interrupts that are there for guests to serve."""
_SYSTEM: Final = 0x15
_POWER: Final = 0x53
_PCI: Final = 0xB1
"""Functions of INT 15h and 1Ah that are many."""


class BiosError(KevError):
    """The guest cannot go on without what its BIOS has not: says what, and where."""


class Firmware(NamedTuple):
    """What a BIOS may use of its machine."""

    memory: CallerMemory
    ports: PortBus
    clock: Clock
    print_bytes: Callable[[bytes], object]
    """Prints on the console what is on the screen."""
    paper: Paper
    """Where what is on the screen has been printed."""
    screen: VgaScreen
    warn: Callable[[str], object]
    """Is given a line for whoever runs the machine."""
    regions: Sequence[MemoryRegion]
    """What the machine's memory consists of."""
    drives: Mapping[int, Drive]
    booted: BootDrive | None
    """What INT 19h boots from; None if the machine was not booted from a drive."""


class Bios:
    """Serves the interrupts that lead to the ROM."""

    __slots__ = ("_clock", "_firmware", "_interrupts", "_keyboard", "_services", "_warned")

    def __init__(self, firmware: Firmware) -> None:
        self._firmware: Final = firmware
        self._warned: Final[set[tuple[int, int]]] = set()
        data = DataArea(firmware.memory)
        self._keyboard: Final = KeyboardServices(data, firmware.ports)
        self._clock: Final = ClockServices(data, firmware.ports)
        lines = LineServices(firmware.ports)
        system = SystemServices(firmware.regions, firmware.memory, firmware.clock)
        self._interrupts: Final[dict[int, Callable[[], None]]] = {0x08: self._clock.tick, 0x09: self._keyboard.interrupted}
        self._services: Final[dict[int, Mapping[int, Service] | Service]] = {
            0x10: Video(firmware.memory, data, firmware.ports, firmware.paper, firmware.screen, firmware.print_bytes).functions,
            0x11: _answer_word(data, Address.EQUIPMENT),
            0x12: _answer_word(data, Address.BASE_MEMORY),
            0x13: DiskServices(firmware.drives, data).functions,
            0x14: lines.serial,
            _SYSTEM: {**system.functions, _POWER: PowerServices(firmware.ports).serve},
            0x16: self._keyboard.functions,
            0x17: lines.printer,
            0x18: self._give_up,
            0x19: self._boot,
            0x1A: {**self._clock.functions, _PCI: PciServices(firmware.ports).serve},
        }

    def call(self, state: VcpuState) -> int | None:
        """Does what a VMCALL in the ROM is for, and returns the new RAX; None if it is not in the ROM.

        BiosError if the guest cannot go on; PageAbsent, DeviceError.
        """
        vector = vector_at(state.cs.base + state.rip)
        if vector is None:
            return None
        self._serve(BiosCall(state, self._firmware.memory, vector))
        return state.rax

    def _serve(self, call: BiosCall) -> None:
        self._refuse_exception(call)
        if call.vector in _MASTER or call.vector in _SLAVE:
            self._interrupted(call.vector)
            return
        service = self._services.get(call.vector)
        if isinstance(service, Mapping):
            service = service.get(call.ah)
        if service is None:
            self._not_served(call, "")
            return
        try:
            service(call)
        except NotServed as function:
            self._not_served(call, f" ({function})")

    def _not_served(self, call: BiosCall, function: str) -> None:
        if call.vector in _SILENT:
            return
        kind = call.vector, call.ah
        if kind not in self._warned:
            self._warned.add(kind)
            self._firmware.warn(
                f"INT {call.vector:02x}h, AH = {call.ah:02x}h{function} at {call.place}: the BIOS does not serve it, "
                "and returned with CF = 1"
            )
        call.set_carry(True)
        if call.vector == _SYSTEM:
            call.ah = UNSUPPORTED

    def _refuse_exception(self, call: BiosCall) -> None:
        """BiosError if it is an exception, which nobody handles, that has led to the handler."""
        name = _EXCEPTIONS.get(call.vector)
        if name is None:
            return
        last = call.vcpu.history[-1] if call.vcpu.history else None
        if last is None or last.vector != call.vector or last.rip is None:
            return
        cs, ip = call.return_address
        if call.read_at((cs << 4) + (ip - 2 & 0xFFFF), 2) != bytes((0xCD, call.vector)):
            raise BiosError(f"{name} at {cs:04x}:{ip:04x}, which nobody handles: its vector points to the BIOS")

    # Interrupts of devices

    def _interrupted(self, vector: int) -> None:
        serve = self._interrupts.get(vector)
        if serve is not None:
            serve()
        ports = self._firmware.ports
        if vector in _SLAVE:
            self._end_interrupt(_SLAVE_COMMAND)
            ports.write(_MASTER_COMMAND, 1, _END_OF_INTERRUPT)
        else:
            self._end_interrupt(_MASTER_COMMAND)

    def _end_interrupt(self, command: int) -> None:
        """If there is one: INT has not begun any, nor has a spurious one."""
        ports = self._firmware.ports
        ports.write(command, 1, _READ_IN_SERVICE)
        in_service = ports.read(command, 1)
        ports.write(command, 1, _READ_REQUESTS)
        if in_service:
            ports.write(command, 1, _END_OF_INTERRUPT)

    # Booting

    def _give_up(self, call: BiosCall) -> None:
        raise BiosError(f"INT 18h at {call.place}: the boot sector has found nothing to boot")

    def _boot(self, call: BiosCall) -> None:
        """Loads the boot sector anew, and enters it."""
        booted = self._firmware.booted
        drive = None if booted is None else self._firmware.drives.get(booted.number)
        if drive is None or drive.boot_catalog:
            raise BiosError(f"INT 19h at {call.place}: there is no disk to boot from")
        sector = bytearray(SECTOR_SIZE)
        drive.disk.read_into(0, memoryview(sector))
        self._firmware.memory.write(Gpa(BOOT_SECTOR), bytes(sector))
        call.dx = drive.number
        call.go_to(START, len(VMCALL))


def _answer_word(data: DataArea, address: int) -> Service:
    """A service whose answer is in the data area."""

    def answer(call: BiosCall) -> None:
        call.ax = data.read(address, 2)

    return answer
