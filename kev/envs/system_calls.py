"""System calls that make guests: what JOS' VMM adds to the kernel of JOS (JOS VMM, kern/syscall.c)."""

from typing import Final

from kev.addressing import MIB, PAGE_SIZE, is_page_aligned
from kev.envs.environment import USER_TOP, Environment, EnvironmentKind, Status
from kev.envs.ept import EPTE_FULL, EPTE_READ, EPTE_WRITE, Edition
from kev.envs.errors import JosError, JosFailure
from kev.envs.ipc import PTE_W
from kev.envs.spaces import GuestSpace, HostSpace
from kev.envs.table import Environments
from kev.envs.vmx import VmxCapabilities, check_support

GUEST_MEMORY: Final = 16 * MIB
"""Of a guest, in bytes."""
GUEST_BOOT: Final = 0x7000
"""Where its boot sector is, and where it begins."""


class SystemCalls:
    """Those of one environment of the host's, the current one. Each raises JosFailure with the error code that JOS returns."""

    def __init__(
        self,
        host: Environments,
        current: Environment,
        processor: VmxCapabilities | None = None,
        edition: Edition = Edition.UT,
    ) -> None:
        """`processor` is what is known of the host's processor; by default it can do all that is needed."""
        self.host: Final = host
        self.current: Final = current
        self.processor: Final = processor or VmxCapabilities()
        self.edition: Final = edition

    def env_mkguest(self, phys_size: int = GUEST_MEMORY, rip: int = GUEST_BOOT) -> int:
        """The id of a guest with so many bytes of memory, none of it mapped, which does not run before its status says so.

        E_NO_VMX, E_NO_EPT; E_INVAL if the memory is no whole number of pages; E_NO_FREE_ENV; E_NO_MEM.
        """
        check_support(self.processor)
        if phys_size <= 0 or not is_page_aligned(phys_size):
            raise JosFailure(JosError.INVAL, f"a guest with {phys_size} bytes of memory: they must be pages of {PAGE_SIZE}")
        guest = self.host.create_guest((range(phys_size),), None, self.current.id)
        guest.entry = rip
        return guest.id

    def env_set_status(self, id: int, status: Status) -> None:
        """E_BAD_ENV; E_INVAL for a status that an environment is not given."""
        environment = self.environment(id)
        if status not in (Status.RUNNABLE, Status.NOT_RUNNABLE):
            raise JosFailure(JosError.INVAL, f"environment {id:08x} cannot be made {status.value}")
        environment.status = status

    def page_alloc(self, address: int, permissions: int) -> None:
        """A page of zeros at an address of the current environment. E_INVAL, E_NO_MEM."""
        self._check_own(address)
        self._space.allocate(address, permissions)

    def page_unmap(self, address: int) -> None:
        """Removes a page of the current environment, if there is one. E_INVAL."""
        self._check_own(address)
        self._space.remove(address)

    def ept_map(self, source: int, srcva: int, guest: int, gpa: int, perm: int) -> None:
        """Maps the page that the environment `source` has at `srcva` into a guest at `gpa`, with EPT permissions.

        E_BAD_ENV if one of them is not the current environment or a child of it; E_INVAL if `guest` is none, if an address is not
        aligned or out of range, if READ is missing in `perm` or something else than READ, WRITE and EXEC is in it, if there is no
        page, if it is read-only and WRITE is asked for, or if something is mapped at `gpa`; E_NO_MEM for a table of the EPT.
        Whatever fails leaves the page's references as they were.
        """
        sender, receiver = self.environment(source), self.environment(guest)
        space = receiver.space
        if not isinstance(space, GuestSpace):
            raise JosFailure(JosError.INVAL, f"environment {guest:08x} is no guest")
        if srcva >= USER_TOP:
            raise JosFailure(JosError.INVAL, f"srcva {srcva:#x} is not below UTOP, {USER_TOP:#x}")
        if not is_page_aligned(srcva):
            raise JosFailure(JosError.INVAL, f"srcva {srcva:#x} is not the beginning of a page")
        if gpa >= space.limit:
            raise JosFailure(JosError.INVAL, f"gpa {gpa:#x} is not below the guest's memory of {space.limit:#x} bytes")
        if not is_page_aligned(gpa):
            raise JosFailure(JosError.INVAL, f"gpa {gpa:#x} is not the beginning of a page")
        if not perm & EPTE_READ:
            raise JosFailure(JosError.INVAL, f"perm {perm:#x} without READ")
        if perm & ~EPTE_FULL:
            raise JosFailure(JosError.INVAL, f"perm {perm:#x} with more than READ, WRITE and EXEC")
        mapped = sender.space.find(srcva)
        if mapped is None:
            raise JosFailure(JosError.INVAL, f"srcva {srcva:#x}: environment {source:08x} has no page there")
        if perm & EPTE_WRITE and not mapped.permissions & PTE_W:
            raise JosFailure(JosError.INVAL, f"srcva {srcva:#x}: the page is read-only, and cannot be mapped with WRITE")
        space.map_new(gpa, mapped.page, perm, self.edition)

    def environment(self, id: int) -> Environment:
        """The current environment or a child of it: envid2env with its permission check; 0 is the current one. E_BAD_ENV."""
        environment = self.current if id == 0 else self.host.find(id)
        if environment is not self.current and environment.parent != self.current.id:
            raise JosFailure(JosError.BAD_ENV, f"environment {id:08x} is no child of {self.current.id:08x}")
        return environment

    @property
    def _space(self) -> HostSpace:
        space = self.current.space
        assert isinstance(space, HostSpace)
        return space

    def _check_own(self, address: int) -> None:
        if address >= USER_TOP or not is_page_aligned(address):
            raise JosFailure(JosError.INVAL, f"address {address:#x} is not that of a page below UTOP, {USER_TOP:#x}")
        if self.current.kind is EnvironmentKind.GUEST:
            raise JosFailure(JosError.INVAL, f"environment {self.current.id:08x} is a guest: it has no pages of this kind")
