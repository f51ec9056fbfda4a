"""The environments of a host whose guest is one machine, or one of several."""

from collections.abc import Sequence
from typing import Final, Protocol

from kev.abi.base import GuestAbi
from kev.dev.base import Device
from kev.dev.block_device import BlockBackend
from kev.dev.surroundings import Surroundings
from kev.envs.files import DiskImages
from kev.envs.guest_port import GuestPort
from kev.envs.memory import GuestRam
from kev.envs.saved import SavedHost, SharedHost
from kev.envs.table import Environments
from kev.machine.vm import Vm


class GuestHost(Protocol):
    """A host of several guests."""

    def new_guest(self, ram: Sequence[range], memory: GuestRam, disk: BlockBackend | None) -> GuestPort:
        """One more guest, with `ram`, that sees `memory`; `disk` is to be the file of its disk image. JosFailure."""


class HostEnvironments:
    """What a machine has to do with its host's."""

    def __init__(self, vm: Vm, machine: Surroundings, disk: BlockBackend | None, host: GuestHost | None) -> None:
        """`disk` is the guest's disk image, if it has one, and `host` whose guest it is; None for a host of its own."""
        self._vm: Final = vm
        if host is not None:
            self.port = host.new_guest(machine.ram, vm.memory, disk)
            self.state: Device = SharedHost()
            vm.expects_message = lambda: True
        else:
            files = DiskImages()
            if disk is not None:
                files.add(1, disk)
            self.port = GuestPort(Environments(files, machine.console.write), machine.ram, vm.memory)
            self.state = SavedHost(self.port)

    def connect(self, abi: GuestAbi) -> None:
        """Lets vCPUs stop and go on as their hypercalls have it."""
        vm, port = self._vm, self.port

        def park(vcpu: int) -> None:
            vm.wait_for_message(vm.vcpus[vcpu])

        def wake(vcpu: int, value: int) -> None:
            abi.message_came(vm.vcpus[vcpu].state, value)
            vm.message_came(vm.vcpus[vcpu])

        port.park, port.wake, port.give_way = park, wake, vm.let_others_run
