"""A host of the JOS VMM, with several guests: machines that take turns with the host's own environments.

`sched_yield` is a loop: whoever is runnable may go on, and a scheduler chooses. By default that is round robin, as in JOS. The
scheduler is one of kev's, so that the same strategies that explore vCPUs explore guests.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any, Final, NamedTuple, Self

from kev.addressing import MIB
from kev.dev.block_device import BlockBackend
from kev.envs.environment import Status
from kev.envs.errors import JosFailure
from kev.envs.files import DiskImages, HostFiles
from kev.envs.guest_port import GuestPort
from kev.envs.memory import GuestRam
from kev.envs.table import Environments
from kev.envs.vmx import VmxCapabilities, check_support
from kev.errors import KevError
from kev.jos.guest import Guest
from kev.machine.api import Image, opened, wanted_machine
from kev.machine.ending import Ending
from kev.machine.run_report import RunReport
from kev.machine.schedule import CountedScheduler, Decision, FreeScheduler, Scheduler
from kev.work.stopping import check, signals_noted

GUEST_MEMORY: Final = 16 * MIB
"""Of a guest of the lab, in bytes."""
FILE_SYSTEM: Final = 0
"""The place of the host's file system among those who take turns; the guests follow by their numbers."""
_LOOK_EVERY: Final = 0.05
"""Seconds of waiting between two looks whether anybody wants the run to end."""
_NO_ENVIRONMENT: Final = "No runnable environments in the system!"


class HostError(KevError):
    """A host that is asked for what it cannot do."""


class Host:
    """One process with guests. To be used as a context manager, or closed in the end."""

    def __init__(
        self,
        *,
        files: HostFiles | None = None,
        seed: int | None = None,
        scheduler: Scheduler | None = None,
        processor: VmxCapabilities | None = None,
        output: Callable[[int, bytes], object] | None = None,
    ) -> None:
        """`files` are those that the host has beside its guests' disks, such as `kev.envs.josfs_files.JosFsFiles`; by default none.

        With a `seed`, time is derived from instructions and all is repeatable. `scheduler` chooses who goes on, by place: 0 is the
        file system, the guests are 1, 2, ...; by default round robin. `processor` is what the checks for VMX and EPT read. `output`
        is given what is printed, with the number of the guest that prints it; 0 is the host.
        """
        self.console: Final = bytearray()
        """What the host itself has printed."""
        self.guests: Final[list[Guest]] = []
        self.seed: Final = seed
        self._images: Final = DiskImages(files)
        self.environments: Final = Environments(self._images, self._print, scheduled=True)
        self.processor: Final = processor or VmxCapabilities()
        self._scheduler: Final = scheduler or (FreeScheduler() if seed is None else CountedScheduler())
        self._output: Final = output
        self._opened: Final = ExitStack()
        self._new: GuestPort | None = None
        self._last = FILE_SYSTEM

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def mkguest(self, image: Image, *, memory: int | str = GUEST_MEMORY, start: bool = True, **wishes: Any) -> Guest:
        """One more guest, with `memory` bytes of RAM, and the keywords of `kev.MachineSpec` for what else its machine is like.

        A disk of kind "ipc" is its `/vmm/fs1.img`, or `fs2.img`, and so on. Unless `start`, it does not run before its status says
        so. JosFailure (E_NO_VMX, E_NO_EPT) if the host's processor lacks what the JOS VMM needs, which the host prints, too;
        HostError for several vCPUs; KevError for whatever is wrong with image and wishes.
        """
        try:
            check_support(self.processor)
        except JosFailure as failure:
            self._print(f"{str(failure).rpartition(' (')[0]}\n".encode())
            raise
        asked = {"abi": "jos", "seed": self.seed, **wishes, "memory": memory, "vcpus": 1}
        if wishes.get("vcpus", 1) != 1:
            raise HostError(f"vcpus: {wishes['vcpus']}: a guest of the JOS VMM has one")
        wanted = wanted_machine(image, asked)._replace(host=self)
        with ExitStack() as made:
            made.callback(self._forget_new)
            machine = made.enter_context(opened(wanted))
            port = self._new
            if port is None:
                raise HostError(f"{machine.image}: a guest of a host needs the ABI jos: with {asked['abi']} it has no environments")
            self._new = None
            self._opened.push(made.pop_all())
        machine.build_alike = None
        guest = Guest(machine, port)
        self.guests.append(guest)
        if self._output is not None:
            machine.vm.console.output.subscribe(self._tell(guest.number))
        if start:
            guest.set_status(Status.RUNNABLE)
        return guest

    def new_guest(self, ram: Sequence[range], memory: GuestRam, disk: BlockBackend | None) -> GuestPort:
        """Called for the machine of a guest that is being made: see `kev.machine.host_environments.GuestHost`."""
        number = len(self.guests) + 1
        if disk is not None:
            self._images.add(number, disk)
        self._new = GuestPort(self.environments, ram, memory, number)
        return self._new

    # Running.

    @property
    def runnable(self) -> list[int]:
        """The places of those who can go on: 0 for the file system, then guests by their numbers."""
        server = [FILE_SYSTEM] if self.environments.file_server.can_go_on else []
        return server + [guest.number for guest in self.guests if guest.can_run]

    def offered(self, runnable: Sequence[int]) -> Sequence[int]:
        """Those of `runnable` whose turn it may be: not the guests that have found the file system busy since others went on."""
        return [place for place in runnable if place == FILE_SYSTEM or not self.guests[place - 1].gave_way] or runnable

    def run(self, timeout: float | None = None) -> list[RunReport]:
        """Lets all go on until every guest that was started has ended, or is in the background; returns all reports, in order.

        Guests that wait for what nobody will send end as JOS says: "No runnable environments in the system!". `timeout` in seconds
        of the host's clock ends all. Between two turns comes Stopped, which is a KeyboardInterrupt, if Ctrl-C or another signal
        that is noted wants it (`kev.work.stopping`). What was written is on the disks afterwards, also then.
        """
        end = None if timeout is None else time.monotonic() + timeout
        with signals_noted():
            return self._run(timeout, end)

    def _run(self, timeout: float | None, end: float | None) -> list[RunReport]:
        try:
            while any(guest.is_awaited for guest in self.guests):
                check()
                if end is not None and time.monotonic() > end:
                    assert timeout is not None
                    self.end(Ending.timed_out(timeout))
                    break
                self.sched_yield()
        finally:
            self.environments.file_server.files.sync()
        return [guest.report() for guest in self.guests]

    def sched_yield(self) -> "Turn | None":
        """Lets one who can go on do so; None if nobody could, and time was waited for or all guests have ended."""
        runnable = self.runnable
        if not runnable:
            self._idle()
            return None
        return self.take_turn(self._scheduler.next(self.offered(runnable)), runnable)

    def take_turn(self, decision: Decision, runnable: Sequence[int]) -> "Turn":
        """Lets the one go on who was chosen among the places in `runnable`."""
        place = decision.vcpu
        for guest in self.guests:
            guest.gave_way = False
        if place == FILE_SYSTEM:
            self.environments.file_server.step()
            steps = 0
        else:
            steps = self._run_guest(self.guests[place - 1], decision)
        self._last = place
        for guest in self.guests:
            guest.port.deliver()
        return Turn(place, max(steps, 1), runnable)

    def end(self, ending: Ending) -> None:
        """Ends all guests."""
        for guest in self.guests:
            if guest.ending is None:
                guest.end(ending)
                self._destroy(guest)

    def close(self) -> None:
        """Gives back what the guests had; those that have not ended are stopped."""
        self.end(Ending.stopped())
        self._opened.close()

    def _run_guest(self, guest: Guest, decision: Decision) -> int:
        environment = guest.environment
        if self._last != guest.number or not environment.runs:
            guest.entered_by = environment.switch_to()
            self.environments.memory.bring(environment.id)
        steps = guest.run(decision.budget)
        if guest.ending is not None:
            self._destroy(guest)
        return steps

    def _destroy(self, guest: Guest) -> None:
        guest.port.waiting = None
        self.environments.destroy(guest.environment)

    def _idle(self) -> None:
        """Nobody can go on: a guest's timer is waited for, or there is nothing to wait for."""
        wakes = min((guest.wakes for guest in self.guests if guest.wakes is not None), default=None)
        if wakes is not None:
            time.sleep(min(max(wakes - time.monotonic(), 0), _LOOK_EVERY))
            return
        for guest in self.guests:
            if guest.is_awaited:
                vm = guest.machine.vm
                guest.end(Ending.died(f"{vm.where(vm.vcpus[0])}: {_NO_ENVIRONMENT}"))
                self._destroy(guest)

    def _forget_new(self) -> None:
        """Takes back the environment of a guest that could not be made."""
        if self._new is not None:
            self.environments.destroy(self._new.environment)
            self._new = None

    def _print(self, data: bytes) -> None:
        self.console.extend(data)
        if self._output is not None:
            self._output(0, data)

    def _tell(self, number: int) -> Callable[[bytes], object]:
        output = self._output
        assert output is not None
        return lambda data: output(number, data)


class Turn(NamedTuple):
    """What one turn came to."""

    place: int
    steps: int
    """Instructions of a guest, and at least 1."""
    runnable: Sequence[int]
    """The places of those who could have gone on."""
