"""The environment that serves files: JOS' fs/serv.c, as far as messages reach it."""

from collections.abc import Callable
from typing import Final, NamedTuple

from kev.addressing import PAGE_SIZE, Hpa
from kev.envs.environment import Environment, MappedPage
from kev.envs.errors import JosError, JosFailure
from kev.envs.file_protocol import (
    FD,
    FD_ADDRESS,
    FD_POSITION,
    FILE_DEVICE,
    FILE_ID,
    MOST_OPEN,
    O_ACCMODE,
    O_CREAT,
    O_EXCL,
    O_MKDIR,
    O_TRUNC,
    OPEN_MODE,
    PATH_SIZE,
    REQUEST_ADDRESS,
    SET_SIZE,
    STATUS,
    TRANSFER,
    FileRequest,
)
from kev.envs.files import HostFile, HostFiles
from kev.envs.ipc import NO_PAGE, PTE_P, PTE_SHARE, PTE_U, PTE_W, receive, try_send
from kev.envs.memory import PhysicalMemory
from kev.envs.spaces import HostSpace
from kev.fs.errors import DiskError

_FD_PERMISSIONS: Final = PTE_P | PTE_U | PTE_W | PTE_SHARE
_SIGN: Final = 1 << 31
_LARGEST_FILE: Final = _SIGN - 1


class OpenFile:
    """A place among the open files."""

    __slots__ = ("file", "id", "path")

    def __init__(self, place: int) -> None:
        self.id = place
        self.path = ""
        self.file: HostFile | None = None


class Reply(NamedTuple):
    """An answer that has not been taken yet."""

    to: int
    """The id of an environment."""
    value: int
    address: int = NO_PAGE
    """Of the page that goes with it."""


class FileServer:
    """What the environment does, step by step. It has one request at a time, and waits until its answer is taken."""

    def __init__(
        self,
        memory: PhysicalMemory,
        environment: Environment,
        space: HostSpace,
        files: HostFiles,
        find: Callable[[int], Environment],
        write: Callable[[bytes], object],
    ) -> None:
        """`find` is asked for the environment with an id; `write` is what the host's console prints."""
        self._memory: Final = memory
        self.environment: Final = environment
        self._space: Final = space
        self._files: Final = files
        self._find: Final = find
        self._write: Final = write
        self.open_files: Final[dict[int, OpenFile]] = {}
        """By place, those that were ever taken."""
        self.reply: Reply | None = None
        self.requests = 0
        """How many were served, those that failed too."""

    @property
    def files(self) -> HostFiles:
        """What it serves."""
        return self._files

    @property
    def can_go_on(self) -> bool:
        """A step would come to something: a request is there, or somebody waits for the answer."""
        if self.reply is None:
            return not self.environment.receiving
        try:
            return self._find(self.reply.to).receiving
        except JosFailure:
            return True

    def step(self) -> bool:
        """Goes on until there is nothing to do but wait; False if that was so from the first.

        It is taken up where it was: an answer that its receiver does not wait for yet is tried again with the next step.
        """
        if self.reply is not None:
            return self._answer(self.reply)
        environment = self.environment
        if environment.receiving:
            return False
        if environment.sender:
            self._serve()
        else:
            receive(environment, REQUEST_ADDRESS)
        return True

    def _answer(self, reply: Reply) -> bool:
        permissions = _FD_PERMISSIONS if reply.address != NO_PAGE else 0
        try:
            try_send(self.environment, self._find(reply.to), reply.value, reply.address, permissions)
        except JosFailure as failure:
            if failure.code is JosError.IPC_NOT_RECV:
                return False
            # JOS' ipc_send panics; here whoever asked for a page that it cannot have gets the error instead.
            self.reply = None if failure.code is JosError.BAD_ENV else Reply(reply.to, failure.code & 0xFFFF_FFFF)
            return True
        self.reply = None
        self._space.remove(REQUEST_ADDRESS)
        receive(self.environment, REQUEST_ADDRESS)
        return True

    def _serve(self) -> None:
        environment = self.environment
        sender, request, environment.sender = environment.sender, environment.value, 0
        self.requests += 1
        if not environment.with_page:
            # As JOS' server does: nobody is answered.
            self._print(f"Invalid request from {sender:08x}: no argument page")
            return
        page = self._space.find(REQUEST_ADDRESS)
        assert page is not None
        self.reply = self._outcome(sender, request, page)

    def _outcome(self, sender: int, request: int, page: MappedPage) -> Reply:
        try:
            if request == FileRequest.OPEN:
                return Reply(sender, 0, self._open(page.page))
            serve = _REQUESTS.get(request)
            if serve is None:
                self._print(f"Invalid request code {request - ((request & _SIGN) << 1)} from {sender:08x}")
                return Reply(sender, JosError.INVAL & 0xFFFF_FFFF)
            if request in _ANSWERED_IN_PAGE and not page.permissions & PTE_W:
                raise JosFailure(JosError.INVAL, f"request {request} of {sender:08x}: its page was sent without PTE_W")
            return Reply(sender, serve(self, page.page))
        except JosFailure as failure:
            return Reply(sender, failure.code & 0xFFFF_FFFF)
        except DiskError as error:
            self._print(f"fs: {error}")
            return Reply(sender, JosError.UNSPECIFIED & 0xFFFF_FFFF)

    # The requests: each gets the page, and returns the value of the answer.

    def _open(self, page: Hpa) -> int:
        """The address of the struct Fd."""
        request = self._memory.read(page, 0, OPEN_MODE.size)
        (mode,) = OPEN_MODE.unpack(request)
        path = _path(request)
        place = self._free_place()
        file = self._opened(path, mode)
        if mode & O_TRUNC:
            file.resize(0)
        taken = self.open_files.setdefault(place, OpenFile(place))
        taken.id += MOST_OPEN
        taken.path, taken.file = path, file
        address = FD_ADDRESS + place * PAGE_SIZE
        mapped = self._space.find(address)
        fd = self._space.allocate(address, PTE_P | PTE_U | PTE_W) if mapped is None else mapped.page
        self._memory.write(fd, 0, FD.pack(FILE_DEVICE, 0, mode & O_ACCMODE, taken.id).ljust(PAGE_SIZE, b"\0"))
        return address

    def _opened(self, path: str, mode: int) -> HostFile:
        if mode & O_CREAT:
            try:
                return self._files.create(path, directory=bool(mode & O_MKDIR))
            except JosFailure as failure:
                if failure.code is not JosError.FILE_EXISTS or mode & O_EXCL:
                    raise
        return self._files.open(path)

    def _free_place(self) -> int:
        """The first whose struct Fd nobody else has. JosFailure (E_MAX_OPEN)."""
        for place in range(MOST_OPEN):
            mapped = self._space.find(FD_ADDRESS + place * PAGE_SIZE)
            if mapped is None or self._memory.references(mapped.page) == 1:
                return place
        raise JosFailure(JosError.MAX_OPEN, f"{MOST_OPEN} files are open")

    def _set_size(self, page: Hpa) -> int:
        number, size = SET_SIZE.unpack(self._memory.read(page, 0, SET_SIZE.size))
        if size < 0:
            raise JosFailure(JosError.INVAL, f"a size of {size} bytes")
        self._find_open(number)[0].resize(size)
        return 0

    def _read(self, page: Hpa) -> int:
        number, length = TRANSFER.unpack(self._memory.read(page, 0, TRANSFER.size))
        file, fd = self._find_open(number)
        position = self._position(fd)
        data = file.read(position, min(length, PAGE_SIZE))
        self._memory.write(page, 0, data)
        self._advance(fd, position, len(data))
        return len(data)

    def _write_file(self, page: Hpa) -> int:
        """As many bytes as the page holds behind the number of them: JOS' limit is 4 more, which lie outside."""
        number, length = TRANSFER.unpack(self._memory.read(page, 0, TRANSFER.size))
        file, fd = self._find_open(number)
        position = self._position(fd)
        data = self._memory.read(page, TRANSFER.size, min(length, PAGE_SIZE - TRANSFER.size))
        if position + len(data) > _LARGEST_FILE:
            raise JosFailure(JosError.INVAL, f"{len(data)} bytes at {position}: a position has 31 bits")
        file.write(position, data)
        self._advance(fd, position, len(data))
        return len(data)

    def _status(self, page: Hpa) -> int:
        (number,) = FILE_ID.unpack(self._memory.read(page, 0, FILE_ID.size))
        file, _ = self._find_open(number)
        name = file.name.encode(errors="surrogateescape")
        self._memory.write(page, 0, STATUS.pack(name, min(file.size, _LARGEST_FILE), file.is_directory))
        return 0

    def _flush(self, page: Hpa) -> int:
        (number,) = FILE_ID.unpack(self._memory.read(page, 0, FILE_ID.size))
        self._find_open(number)[0].flush()
        return 0

    def _remove(self, page: Hpa) -> int:
        self._files.remove(_path(self._memory.read(page, 0, PATH_SIZE)))
        return 0

    def _sync(self, _page: Hpa) -> int:
        self._files.sync()
        return 0

    def _find_open(self, number: int) -> tuple[HostFile, Hpa]:
        """A file by its id, and its struct Fd. JosFailure (E_INVAL) unless it is open: JOS' openfile_lookup."""
        place = number % MOST_OPEN
        taken, mapped = self.open_files.get(place), self._space.find(FD_ADDRESS + place * PAGE_SIZE)
        if taken is None or taken.id != number or taken.file is None or mapped is None or self._memory.references(mapped.page) <= 1:
            raise JosFailure(JosError.INVAL, f"file id {number} is not that of an open file")
        return taken.file, mapped.page

    def _position(self, fd: Hpa) -> int:
        position = int.from_bytes(self._memory.read(fd, FD_POSITION, 4), "little", signed=True)
        if position < 0:
            raise JosFailure(JosError.INVAL, f"position {position} in a file")
        return position

    def _advance(self, fd: Hpa, position: int, count: int) -> None:
        self._memory.write(fd, FD_POSITION, (position + count & 0xFFFF_FFFF).to_bytes(4, "little"))

    def _print(self, line: str) -> None:
        self._write(f"{line}\n".encode())


_REQUESTS: Final[dict[int, Callable[[FileServer, Hpa], int]]] = {
    FileRequest.SET_SIZE: FileServer._set_size,
    FileRequest.READ: FileServer._read,
    FileRequest.WRITE: FileServer._write_file,
    FileRequest.STAT: FileServer._status,
    FileRequest.FLUSH: FileServer._flush,
    FileRequest.REMOVE: FileServer._remove,
    FileRequest.SYNC: FileServer._sync,
}

_ANSWERED_IN_PAGE: Final = (FileRequest.READ, FileRequest.STAT)
"""JOS' server would die of a page fault where it must not write the answer; here whoever asked gets an error."""


def _path(request: bytes) -> str:
    """The path at the beginning of a request. It is cut where there is room for a NUL."""
    return request[: PATH_SIZE - 1].split(b"\0", 1)[0].decode(errors="surrogateescape")
