"""What a machine saves of its host's environments, if it is their only guest."""

from typing import Final

from kev.addressing import PAGE_SIZE, Hpa
from kev.envs.environment import Environment, Status
from kev.envs.errors import JosFailure
from kev.envs.file_server import OpenFile, Reply
from kev.envs.guest_port import GuestPort
from kev.envs.spaces import GuestSpace, HostSpace
from kev.errors import KevError
from kev.state import BYTES, FLAG, PART, Fields, State, StateError, bits, check_count, listed, one_of, optional, record

_U32: Final = bits(32)
_U64: Final = bits(64)
_ENVIRONMENT: Final = Fields(
    {
        "status": one_of(Status),
        "runs": _U64,
        "receiving": FLAG,
        "receives_at": _U64,
        "value": _U32,
        "sender": _U32,
        "with_page": bits(12),
    },
    mapped=listed(record(lambda *entry: entry, _U64, _U64, bits(12))),
)
_HOST: Final = Fields(
    {},
    pages=listed(BYTES),
    environments=listed(PART),
    open_files=listed(record(lambda *file: file, bits(10), _U32, BYTES)),
    reply=optional(record(Reply, _U32, _U32, _U64)),
    waiting=optional(bits(8)),
)


class SavedHost:
    """A `Device` without addresses: all that the host of one guest has, its files aside."""

    name: Final = "host environments"

    __slots__ = ("_port",)

    def __init__(self, port: GuestPort) -> None:
        self._port: Final = port

    def reset(self) -> None:
        host = self._port.host
        host.begin_anew()
        self._port.waiting = None
        host.run_host()

    def save(self) -> State:
        host, server = self._port.host, self._port.host.file_server
        pages = list(host.memory)
        numbers = {page: number for number, page in enumerate(pages)}
        return _HOST.save(
            self,
            pages=[b"" if host.memory.homes(page) else host.memory.read(page) for page in pages],
            environments=[_save_environment(environment, numbers) for environment in host],
            open_files=[(place, file.id, file.path.encode(errors="surrogateescape")) for place, file in server.open_files.items()],
            reply=server.reply,
            waiting=self._port.waiting,
        )

    def load(self, state: State) -> None:
        parts = _HOST.load(self, self.name, state)
        host = self._port.host
        host.begin_anew()
        environments = list(host)
        check_count(self.name, "environments", parts["environments"], len(environments))
        try:
            pages = [self._load_page(contents) for contents in parts["pages"]]
            for environment, saved in zip(environments, parts["environments"], strict=True):
                self._load_environment(environment, saved, pages)
            for place, id, path in parts["open_files"]:
                self._load_open_file(place, id, bytes(path).decode(errors="surrogateescape"))
        except JosFailure as failure:
            raise StateError(self.name, "environments", parts["environments"], f"such that they can be had: {failure}") from failure
        host.file_server.reply = parts["reply"]
        self._port.waiting = parts["waiting"]

    def _load_page(self, contents: bytes) -> Hpa:
        memory = self._port.host.memory
        if len(contents) not in (0, PAGE_SIZE):
            raise StateError(self.name, "pages", contents, f"{PAGE_SIZE} bytes each, or none")
        page = memory.allocate()
        if contents:
            memory.write(page, 0, bytes(contents))
        return page

    def _load_environment(self, environment: Environment, saved: State, pages: list[Hpa]) -> None:
        mapped = _ENVIRONMENT.load(environment, f"environment {environment.id:08x}", saved)["mapped"]
        space = environment.space
        assert isinstance(space, HostSpace | GuestSpace)
        for address, page, flags in mapped:
            if page >= len(pages):
                raise StateError(self.name, "page", page, f"one of the {len(pages)} that were saved")
            space.restore(address, pages[page], flags)

    def _load_open_file(self, place: int, id: int, path: str) -> None:
        server = self._port.host.file_server
        file = server.open_files[place] = OpenFile(place)
        file.id, file.path, file.file = id, path, server.files.open(path)


def _save_environment(environment: Environment, numbers: dict[Hpa, int]) -> State:
    """Pages are saved by their numbers: where they lie is nobody's affair."""
    space = environment.space
    assert isinstance(space, HostSpace | GuestSpace)
    return _ENVIRONMENT.save(environment, mapped=[(address, numbers[page], flags) for address, page, flags in space.entries()])


class SharedHost:
    """A `Device` without addresses: a host with several guests, none of which can be saved without the others."""

    name: Final = SavedHost.name

    __slots__ = ()

    def reset(self) -> None:
        raise self._refusal()

    def save(self) -> State:
        raise self._refusal()

    def load(self, state: State) -> None:
        raise self._refusal()

    def _refusal(self) -> KevError:
        return KevError(f"{self.name}: the machine is one of several guests of a host: it is neither saved nor forked alone")
