"""Guest memory as a boot protocol leaves it, read page by page as a guest would."""

from collections.abc import Callable
from typing import TypedDict, Unpack

from kev.addressing import PAGE_SIZE, Gpa, page_floor, page_offset
from kev.boot.base import BootOptions, BootProtocol, Module, VirtioTransport
from kev.boot.detection import open_kernel
from kev.engine.base import EntryState
from kev.host_memory import HostMemory
from kev.page_tables.npt import NptFormat
from kev.page_tables.table import PageTable
from kev.pager.image import KernelImage
from kev.pager.kernel import KernelVmPager
from kev.pager.source import SynchronousSource
from tests.boot.images import source

MIB = 1 << 20
GIB = 1 << 30


def make_pager(image: KernelImage, ram: int = 64 * MIB) -> KernelVmPager:
    memory = HostMemory(2 * GIB)
    return KernelVmPager(image, ram >> 10, memory, PageTable(memory, NptFormat()))


class Options(TypedDict, total=False):
    """The fields of `BootOptions`."""

    command_line: str
    modules: tuple[Module, ...]
    vcpus: int
    virtio: tuple[VirtioTransport, ...]
    boot_sector: SynchronousSource
    random: Callable[[int], bytes]
    boot_loader_name: str


class Booted:
    """A kernel about to be entered."""

    def __init__(
        self, image: bytes | bytearray, protocol: str | None = None, *, ram: int = 64 * MIB, **options: Unpack[Options]
    ) -> None:
        self.protocol: BootProtocol = open_kernel(source(image), protocol)
        self.pager = make_pager(self.protocol.image, ram)
        self.entry: EntryState = self.protocol.prepare(self.pager, BootOptions(**options))

    def read(self, gpa: int, length: int) -> bytes:
        data = b""
        while len(data) < length:
            address = gpa + len(data)
            hpa = self._locate(address)
            data += bytes(self.pager.memory.view[hpa : hpa + min(length - len(data), PAGE_SIZE - page_offset(address))])
        return data

    def u16(self, gpa: int) -> int:
        return int.from_bytes(self.read(gpa, 2), "little")

    def u32(self, gpa: int) -> int:
        return int.from_bytes(self.read(gpa, 4), "little")

    def string(self, gpa: int) -> str:
        data = b""
        while not data.endswith(b"\0"):
            data += self.read(gpa + len(data), 1)
        return data[:-1].decode()

    def is_loaded(self, gpa: int) -> bool:
        return self.pager.gpa2hpa(Gpa(page_floor(gpa))) is not None

    def _locate(self, gpa: int) -> int:
        assert self.pager.try_load_page(Gpa(gpa))
        hpa = self.pager.gpa2hpa(Gpa(gpa))
        assert hpa is not None
        return hpa
