"""The environments of a host whose guest is one machine, or one of several."""

from typing import Final

from kev.abi.base import GuestAbi
from kev.dev.block_device import BlockBackend
from kev.dev.surroundings import Surroundings
from kev.envs.files import DiskImages
from kev.envs.guest_port import GuestPort
from kev.envs.table import Environments
from kev.machine.vm import Vm


class HostEnvironments:
    """What a machine has to do with its host's."""

    def __init__(self, vm: Vm, machine: Surroundings, disk: BlockBackend | None) -> None:
        """A host with one guest, whose disk image is `disk`."""
        files = DiskImages()
        if disk is not None:
            files.add(1, disk)
        self._vm: Final = vm
        self.port: Final = GuestPort(Environments(files, machine.console.write), machine.ram, machine.memory)

    def connect(self, abi: GuestAbi) -> None:
        """Lets vCPUs stop and go on as their hypercalls have it."""
        vm = self._vm

        def wake(vcpu: int, value: int) -> None:
            abi.message_came(vm.vcpus[vcpu].state, value)
            vm.message_came(vm.vcpus[vcpu])

        self.port.park = lambda vcpu: vm.wait_for_message(vm.vcpus[vcpu])
        self.port.wake = wake
