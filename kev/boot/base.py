"""What a boot protocol is: a way to load a kernel image, and to enter it."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar

from kev.boot.kernel_file import KernelFile
from kev.engine.base import EntryState
from kev.errors import KevError
from kev.named_tuple import NamedTuple
from kev.pager.image import KernelImage
from kev.pager.kernel import KernelVmPager
from kev.pager.source import PageSource, SynchronousSource
from kev.version import __version__

if TYPE_CHECKING:
    from kev.bios.drives import BootDrive
    from kev.dev.display.framebuffer import VideoMode


class BootError(KevError):
    """An image cannot be booted as asked. Names the image, the protocol, and what stands in the way."""


class Module(NamedTuple):
    """A file that the kernel finds in memory beside its own image, such as an initial RAM disk."""

    name: str
    source: PageSource
    command_line: str = ""

    @property
    def text(self) -> str:
        """The string that the kernel gets with it: its command line, or its name if it has none."""
        return self.command_line or self.name

    @property
    def name_and_text(self) -> str:
        """Both, as QEMU gives them to Multiboot 1 kernels."""
        return f"{self.name} {self.command_line}" if self.command_line else self.name


class VirtioTransport(NamedTuple):
    """Where a driver finds a virtio device over MMIO."""

    registers: range
    """Guest-physical addresses, whole pages."""
    interrupt: int
    """The I/O APIC's input."""


class PciRoot(NamedTuple):
    """PCI bus 0."""

    interrupt: int
    """The I/O APIC's input that pin A of all devices leads to."""


class BootOptions(NamedTuple):
    """What a kernel is told when it is entered."""

    command_line: str = ""
    modules: tuple[Module, ...] = ()
    vcpus: int = 1
    """How many processors the tables of the firmware list."""
    virtio: tuple[VirtioTransport, ...] = ()
    """The virtio devices over MMIO that they list."""
    pci: PciRoot | None = None
    """The PCI bus, if there is something on it."""
    hard_disks: int = 0
    """How many INT 13h knows."""
    boot_sector: SynchronousSource | None = None
    """The sector that enters the kernel, for a protocol that has one in front of it; None for the protocol's own."""
    random: Callable[[int], bytes] | None = None
    """Makes so many random bytes, for a kernel that asks its boot loader for some; None if it is to have none."""
    boot_loader_name: str = f"kev {__version__}"


class BootProtocol(ABC):
    """A kernel image, understood by one boot protocol."""

    name: ClassVar[str]
    """The protocol's: that of its module in `kev.boot`."""
    passes_modules: ClassVar[bool] = True
    """Whether there is a way to tell the kernel of modules."""
    passes_command_line: ClassVar[bool] = True
    """The same for a command line."""
    takes_boot_sector: ClassVar[bool] = False
    """Whether a boot sector enters the kernel."""
    lies_in_ram: ClassVar[bool] = True
    """Whether the image is loaded into RAM: where devices are is none."""
    video_mode: "VideoMode | None" = None
    """What the kernel draws into; None if there is but text."""
    mode: int = 32
    """16 for real mode, 32 for protected mode without paging, or 64 for long mode: how the kernel is entered."""
    has_bios: ClassVar[bool] = True
    """Whether there is a BIOS that real-mode code can call, as there was for the boot loader."""
    expects_chipset: ClassVar[bool] = False
    """Whether the image looks for a PC's chipset on the PCI bus."""
    boot_disk: SynchronousSource | None = None
    """The disk that the image is a part of, if there is more on it: the first one of the machine's IDE channel."""
    booted: "BootDrive | None" = None
    """The BIOS's drive that the image is on."""

    def __init__(self, image: KernelImage) -> None:
        self.image = image
        """What is loaded, where, and where execution starts."""

    @classmethod
    @abstractmethod
    def detect(cls, file: KernelFile) -> str | None:
        """What says that `file` is made for this protocol, such as "a boot sector"; None if nothing does.

        A damaged image may be: `open` says what is wrong with it.
        """

    @classmethod
    @abstractmethod
    def open(cls, file: KernelFile) -> "BootProtocol":
        """Reads the headers. BootError or ImageError if this protocol cannot boot the image."""

    @abstractmethod
    def prepare(self, pager: KernelVmPager, options: BootOptions) -> EntryState:
        """Registers the pages that the protocol adds to those of the image, and says how vCPU 0 starts.

        `pager` is that of `image`. Nothing is loaded. BootError if there is no room, or no way to pass what `options` has.
        """

    def refuse(self, options: BootOptions) -> None:
        """BootError if `options` has modules or a command line and the protocol does not pass them."""
        if options.modules and not self.passes_modules:
            raise BootError(f"module {options.modules[0].name!r}: the {self.name} boot protocol passes no modules")
        if options.command_line and not self.passes_command_line:
            raise BootError(f"command line {options.command_line!r}: the {self.name} boot protocol passes none")

    def refuse_boot_sector(self, options: BootOptions) -> None:
        """BootError if `options` has a boot sector and the protocol takes none."""
        if options.boot_sector is not None and not self.takes_boot_sector:
            raise BootError(f"boot sector {options.boot_sector.name}: the {self.name} boot protocol takes none")


def c_string(text: str) -> bytes:
    """`text` in UTF-8 with a zero byte behind it. BootError if it contains one."""
    encoded = text.encode("utf-8", "surrogateescape")
    if b"\0" in encoded:
        raise BootError(f"the string {text!r} contains a zero byte, which would end it")
    return encoded + b"\0"
