"""The BIOS of a machine, which is made when the guest first calls it."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, cast

from kev.dev.block_device import BlockBackend
from kev.dev.devices import Devices
from kev.dev.surroundings import Surroundings
from kev.engine.base import VcpuState
from kev.exits import Reply, Vmcall
from kev.x86 import CR0_PE, RFLAGS_VM

if TYPE_CHECKING:
    from kev.bios.drives import BootDrive
    from kev.bios.paper import Paper
    from kev.bios.services import Bios
    from kev.machine.vm import Vm

_SEGMENT_LIMIT: Final = 0xFFFF
_PAPER: Final = "BIOS text"
"""What the machine calls what the BIOS has printed. It is saved with its devices: the guest's memory does not tell."""


class BiosController:
    """The controller of VMCALL exits: real-mode code in the ROM calls the BIOS, all others the guest's hypervisor."""

    __slots__ = ("_bios", "_booted", "_devices", "_disks", "_hypercall", "_machine", "_vm")

    def __init__(
        self,
        vm: "Vm",
        devices: Devices,
        machine: Surroundings,
        disks: Sequence[BlockBackend],
        booted: "BootDrive | None",
        hypercall: Callable[[VcpuState, Vmcall], Reply | None],
    ) -> None:
        """`disks` in the order of their numbers. `hypercall` is the controller of all other VMCALLs."""
        devices.add_later(_PAPER, self._make_paper)
        self._vm: Final = vm
        self._machine: Final = machine
        self._disks: Final = disks
        self._booted: Final = booted
        self._hypercall: Final = hypercall
        self._devices: Final = devices
        self._bios: Bios | None = None

    def handle(self, state: VcpuState, exit: Vmcall) -> Reply | None:
        if state.rip > _SEGMENT_LIMIT or (state.cr0 & CR0_PE and not state.rflags & RFLAGS_VM):
            return self._hypercall(state, exit)
        if self._bios is None:
            self._bios = self._make()
        reply = self._bios.call(state)
        return self._hypercall(state, exit) if reply is None else reply

    def _make(self) -> "Bios":
        from kev.bios.drives import number_drives
        from kev.bios.services import Bios, Firmware
        from kev.boot.memory_map import memory_map

        machine = self._machine
        firmware = Firmware(
            memory=self._vm.memory,
            ports=self._vm.buses.ports,
            clock=machine.clock,
            print_bytes=self._vm.console.show,
            paper=cast("Paper", self._devices.inner(_PAPER)),
            screen=self._vm.screen,
            warn=self._warn,
            regions=memory_map(machine.ram),
            drives=number_drives(self._disks, self._booted),
            booted=self._booted,
        )
        return Bios(firmware)

    def _make_paper(self) -> "Paper":
        from kev.bios.paper import Paper

        return Paper(_PAPER, self._vm.screen)

    def _warn(self, text: str) -> None:
        self._vm.log(f"kev: {text}\n".encode())
