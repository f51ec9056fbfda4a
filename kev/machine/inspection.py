"""What a machine would be like, found out by building it, without running it."""

import attrs

from kev.boot.memory_map import memory_map
from kev.machine.api import opened, wanted_machine
from kev.pager.memory_region import MemoryRegion
from kev.spec.machine_spec import MachineSpec


@attrs.frozen(slots=True)
class MachineInspection:
    """A machine that is ready to run."""

    memory_map: tuple[MemoryRegion, ...]
    """What the guest is told of its memory, ascending."""
    ports: tuple[tuple[str, range], ...]
    """Devices by name, each with a range of its I/O ports, ascending."""
    mmio: tuple[tuple[str, range], ...]
    """Devices by name, each with a range of guest-physical addresses, ascending."""
    pci: tuple[tuple[int, str], ...]
    """Devices of PCI bus 0: the number, and vendor and device in hexadecimal."""


def inspect_machine(spec: MachineSpec) -> MachineInspection:
    """Builds the machine that `spec` describes, of which nothing is loaded, and takes it apart again. KevError as `kev.launch`."""
    # A policy that records writes a file at the end of a run.
    records = (spec.paging or "").startswith("record=")
    with opened(wanted_machine(spec.replace(paging=None) if records else spec, {})) as machine:
        vm = machine.vm
        while vm.devices.import_next():
            pass
        return MachineInspection(
            tuple(memory_map(vm.pager.ram)),
            tuple(vm.buses.ports.owners()),
            tuple(vm.buses.mmio.owners()),
            tuple(vm.buses.pci.identities()),
        )
