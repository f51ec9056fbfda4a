"""Where one guest meets the environments of its host: its hypercalls become system calls of its own environment."""

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from kev.addressing import Gpa
from kev.envs.environment import Environment
from kev.envs.errors import JosError, JosFailure
from kev.envs.ipc import receive, try_send
from kev.envs.memory import GuestRam
from kev.envs.spaces import GuestSpace
from kev.envs.table import Environments


class Received(NamedTuple):
    """What came of waiting for a message."""

    error: int
    """0, or a negative error of JOS: then there is no message."""
    value: int = 0


class GuestPort:
    """The guest's side of a host. See `kev.abi.base.Ipc`."""

    def __init__(self, host: Environments, ram: Sequence[range], memory: GuestRam, number: int = 1) -> None:
        """Makes the guest's environment, which has `ram`; `memory` is what the guest sees.

        `number` counts the host's guests from 1.
        """
        self.host: Final = host
        self.number: Final = number
        self.environment: Final[Environment] = host.create_guest(ram, memory)
        self.waiting: int | None = None
        """The vCPU that waits for a message."""
        self.give_way: Callable[[], None] | None = None
        """Called when the guest has to try again: others should go on first."""
        self.leave: Callable[[], None] | None = None
        """Called when the guest goes back to its host, if that has something else to do."""
        self.park: Callable[[int], None] | None = None
        """Told of the vCPU that has to wait."""
        self.wake: Callable[[int, int], None] | None = None
        """Told of the message that a vCPU has waited for: the vCPU's number, and the value."""

    def send(self, destination: int, value: int, page: Gpa, permissions: int) -> int:
        try:
            if page >= self._space.limit:
                raise JosFailure(JosError.INVAL, f"gpa {page:#x} of a page to send is beyond the guest's memory")
            self._space.touch(page)
            try_send(self.environment, self.host.of_kind(destination), value, page, permissions)
        except JosFailure as failure:
            if failure.code is JosError.IPC_NOT_RECV and self.give_way is not None:
                self.give_way()
            return failure.code
        return 0

    def receive(self, vcpu: int, page: Gpa) -> Received | None:
        """PageAbsent, before anything has changed, if a page that the answer may go to has to be awaited."""
        if self.waiting is not None:
            return Received(JosError.INVAL)
        self._space.touch(page)
        try:
            receive(self.environment, page)
        except JosFailure as failure:
            return Received(failure.code)
        if not self.host.scheduled:
            self.host.run_host()
        if self.environment.receiving:
            self.waiting = vcpu
            if self.park is not None:
                self.park(vcpu)
            return None
        return Received(0, self.environment.value)

    def deliver(self) -> bool:
        """Wakes the vCPU that waits, if its message has come meanwhile; says whether it did."""
        if self.waiting is None or self.environment.receiving:
            return False
        vcpu, self.waiting = self.waiting, None
        assert self.wake is not None
        self.wake(vcpu, self.environment.value)
        return True

    def back_to_host(self) -> bool:
        if self.leave is None:
            return False
        self.leave()
        return True

    def is_read_only(self, page: Gpa) -> bool:
        return self._space.is_read_only(page)

    @property
    def _space(self) -> GuestSpace:
        space = self.environment.space
        assert isinstance(space, GuestSpace)
        return space
