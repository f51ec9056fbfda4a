"""The environments of one host: the table that they are in, and who of the host's own goes on."""

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from kev.envs.environment import MOST_ENVIRONMENTS, Environment, EnvironmentKind, Status, environment_id
from kev.envs.errors import JosError, JosFailure
from kev.envs.file_server import FileServer
from kev.envs.files import HostFiles
from kev.envs.memory import DEFAULT_SIZE, GuestRam, PhysicalMemory
from kev.envs.spaces import GuestSpace, HostSpace


class Environments:
    """All of a host, of which one serves files."""

    def __init__(
        self, files: HostFiles, write: Callable[[bytes], object], memory: int = DEFAULT_SIZE, *, scheduled: bool = False
    ) -> None:
        """`write` is what the host's console prints; `memory` is the host's, in bytes.

        `scheduled`: somebody says when each environment goes on. Else those of the host's own do whenever a guest waits for them.
        """
        self.scheduled: Final = scheduled
        self.memory: Final = PhysicalMemory(memory)
        self._table: Final[list[Environment | None]] = []
        self._generations: Final[list[int]] = []
        space = HostSpace(self.memory)
        environment = self._enter(lambda id: Environment(id, EnvironmentKind.FS, 0, space))
        environment.status = Status.RUNNABLE
        self.file_server: Final = FileServer(self.memory, environment, space, files, self.find, write)
        self.run_host()

    def __iter__(self) -> Iterator[Environment]:
        """In the order of their places."""
        return filter(None, iter(self._table))

    def find(self, id: int) -> Environment:
        """The environment with this id. JosFailure (E_BAD_ENV) if there is none."""
        place = id % MOST_ENVIRONMENTS
        found = self._table[place] if 0 <= place < len(self._table) else None
        if found is None or found.id != id:
            raise JosFailure(JosError.BAD_ENV, f"there is no environment {id:08x}")
        return found

    def of_kind(self, kind: int) -> Environment:
        """Whom a guest names in IPCSEND. JosFailure (E_INVAL) unless it is the file system's environment."""
        for environment in self:
            if environment.kind is EnvironmentKind.FS and environment.kind.value == kind:
                return environment
        raise JosFailure(JosError.INVAL, f"a guest sends to no environment of type {kind}: the file system's is 1")

    def create(self, kind: EnvironmentKind, parent: int = 0) -> Environment:
        """An environment of the host's that is not runnable yet: sys_exofork. JosFailure (E_NO_FREE_ENV)."""
        return self._enter(lambda id: Environment(id, kind, parent, HostSpace(self.memory)))

    def create_guest(self, ram: Sequence[range], machine: GuestRam | None, parent: int = 0) -> Environment:
        """The environment of a guest with `ram`; `machine` is the memory that it sees, if it runs. JosFailure (E_NO_FREE_ENV)."""
        return self._enter(
            lambda id: Environment(id, EnvironmentKind.GUEST, parent, GuestSpace(self.memory, id, ram, machine)),
        )

    def destroy(self, environment: Environment) -> None:
        """Unmaps all that it has, and frees its place."""
        space = environment.space
        assert isinstance(space, HostSpace | GuestSpace)
        for address, _ in list(space):
            space.remove(address)
        if isinstance(space, GuestSpace):
            space.free_tables()
        environment.status = Status.ENDED
        environment.receiving = False
        self._table[environment.id % MOST_ENVIRONMENTS] = None

    def begin_anew(self) -> None:
        """The same environments as at the beginning: none has a page, nobody waits, no file is open."""
        self.memory.clear()
        self.file_server.open_files.clear()
        self.file_server.reply = None
        self.file_server.files.forget()
        for environment in self:
            space = environment.space
            assert isinstance(space, HostSpace | GuestSpace)
            space.begin_anew()
            environment.begin_anew()

    def run_host(self) -> bool:
        """Lets the host's own environments go on until none can; says whether any could."""
        went_on = False
        while self.file_server.step():
            went_on = True
        return went_on

    def _enter(self, make: Callable[[int], Environment]) -> Environment:
        place = next((place for place, taken in enumerate(self._table) if taken is None), len(self._table))
        if place == MOST_ENVIRONMENTS:
            raise JosFailure(JosError.NO_FREE_ENV, f"there are {MOST_ENVIRONMENTS} environments already")
        if place == len(self._table):
            self._table.append(None)
            self._generations.append(0)
        self._generations[place] += 1
        environment = self._table[place] = make(environment_id(place, self._generations[place]))
        return environment
