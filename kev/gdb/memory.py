"""Guest memory as a debugger sees it: at linear addresses, through the guest's own page tables."""

from typing import Final

from kev.addressing import PAGE_SIZE, page_offset
from kev.errors import KevError
from kev.gdb.errors import GdbError
from kev.machine.machine import Machine
from kev.x86 import EFER_LMA


class DebugMemory:
    """The memory of a machine that stands still. Pages that were not loaded yet are loaded.

    What the guest maps nowhere yet, but its image will have there, is shown from where it was loaded: a kernel of the higher half
    can be disassembled, and breakpoints be set in it, before it has turned on paging.
    """

    def __init__(self, machine: Machine) -> None:
        self._machine: Final = machine

    async def read(self, vcpu: int, address: int, length: int) -> bytes:
        """Up to `length` bytes as `vcpu` sees them: fewer where memory ends. GdbError if there is not even one."""
        found = b""
        try:
            while len(found) < length:
                size = min(length - len(found), PAGE_SIZE - page_offset(address + len(found)))
                found += await self._read_in_page(vcpu, address + len(found), size)
        except KevError as error:
            if not found:
                raise GdbError(f"no memory can be read at {address:#x}: {error}") from error
        return found

    async def write(self, vcpu: int, address: int, data: bytes) -> None:
        """GdbError if not all of `data` can be written; whether the guest might does not matter."""
        done = 0
        while done < len(data):
            size = min(len(data) - done, PAGE_SIZE - page_offset(address + done))
            try:
                await self._write_in_page(vcpu, address + done, data[done : done + size])
            except KevError as error:
                raise GdbError(f"memory cannot be written at {address + done:#x}: {error}") from error
            done += size

    async def _read_in_page(self, vcpu: int, address: int, size: int) -> bytes:
        machine = self._machine
        loaded_at = self._loaded_at(address)
        try:
            if loaded_at is None or self._is_within_reach(vcpu, address):
                return await machine.read(size, gva=address, vcpu=vcpu)
        except KevError:
            if loaded_at is None:
                raise
        return await machine.read(size, gpa=loaded_at)

    async def _write_in_page(self, vcpu: int, address: int, data: bytes) -> None:
        machine = self._machine
        loaded_at = self._loaded_at(address)
        try:
            if loaded_at is None or self._is_within_reach(vcpu, address):
                await machine.write(data, gva=address, vcpu=vcpu)
                return
        except KevError:
            if loaded_at is None:
                raise
        await machine.write(data, gpa=loaded_at)

    def _is_within_reach(self, vcpu: int, address: int) -> bool:
        """The vCPU's linear addresses are so wide."""
        return address >> 32 == 0 or bool(self._machine.vm.vcpus[vcpu].state.efer & EFER_LMA)

    def _loaded_at(self, address: int) -> int | None:
        """The guest-physical address of what the image has at a virtual one, if that is another."""
        for segment in self._machine.vm.pager.image.segments:
            if segment.vaddr <= address < segment.vaddr + segment.memsz and int(segment.vaddr) != segment.paddr:
                return segment.paddr + address - segment.vaddr
        return None
