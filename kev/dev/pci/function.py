"""One function of a PCI device: its configuration space, with a header of type 0 (PCI Local Bus Specification 3.0, chapter 6)."""

import struct
from collections.abc import Callable, Sequence
from typing import Final

from kev.dev.base import InterruptLine
from kev.dev.pci.space import PciSpace
from kev.named_tuple import NamedTuple
from kev.state import PART, Fields, State, StateError, bits, check_count, listed


class ConfigurationRegister:
    """Offsets of registers of 32 bits (figure 6-1)."""

    COMMAND: Final = 0x04
    """The status is its upper half."""
    BASE_ADDRESS: Final = 0x10
    CAPABILITIES: Final = 0x34
    INTERRUPT: Final = 0x3C


class Command:
    """Bits of the command register (section 6.2.2)."""

    PORTS: Final = 1 << 0
    MEMORY: Final = 1 << 1
    BUS_MASTER: Final = 1 << 2
    INTERRUPT_DISABLE: Final = 1 << 10


_STATUS_INTERRUPT: Final = 1 << 19
_STATUS_CAPABILITIES: Final = 1 << 20

_SIZE: Final = 0x100
_IDENTITY: Final = struct.Struct("<HH4xB3s2xB29xHH")
_SEVERAL_FUNCTIONS: Final = 0x80
FIRST_CAPABILITY: Final = 0x40
"""Where the first of a function's capabilities is."""
_PIN_A: Final = 1
_PORT_SPACE: Final = 1 << 0
"""A base address register of this kind."""
_PREFETCHABLE: Final = 1 << 3
_WORD: Final = 0xFFFF_FFFF


class PciIdentity(NamedTuple):
    """What a driver knows a function by."""

    vendor: int
    device: int
    class_code: int
    """Base class, sub-class and programming interface: 24 bits."""
    revision: int = 0
    subsystem_vendor: int = 0
    subsystem: int = 0
    has_several_functions: bool = False
    """The device has others beside this one."""


class BaseAddress(NamedTuple):
    """A base address register for memory space of 32 bits, or for ports (section 6.2.5.1)."""

    number: int
    """0 to 5."""
    address: int
    """What firmware has assigned."""
    space: PciSpace
    is_ports: bool = False
    is_prefetchable: bool = False
    """Of memory: reads change nothing."""

    @property
    def register(self) -> int:
        return ConfigurationRegister.BASE_ADDRESS + 4 * self.number

    @property
    def enable(self) -> int:
        """The bit of the command register that makes it respond."""
        return Command.PORTS if self.is_ports else Command.MEMORY


class InterruptPin(NamedTuple):
    """INTA#, and where it goes."""

    irq: int
    """What firmware writes into the Interrupt Line register."""
    line: InterruptLine


class WritableRegister(NamedTuple):
    """A register of the function's own, beyond the header."""

    offset: int
    """A multiple of 4."""
    mask: int
    """The bits that can be written."""
    written: Callable[[int], None]
    """Told of its value when that has changed, by whatever."""


class PciFunction:
    """A function as firmware leaves it: its memory and ports have addresses and it responds, as a bus master too.

    It is one `Device` with what is in them.
    """

    __slots__ = (
        "_base_addresses",
        "_interrupt",
        "_interrupting",
        "_left_by_firmware",
        "_own",
        "_registers",
        "_uses_messages",
        "_writable",
        "name",
    )

    _FIELDS: Final = Fields({"_registers": listed(bits(32), _SIZE // 4)}, spaces=listed(PART))

    def __init__(
        self,
        name: str,
        identity: PciIdentity,
        capabilities: Sequence[bytes] = (),
        interrupt: InterruptPin | None = None,
    ) -> None:
        """`capabilities`: each with the id first and a byte for the link that follows it. Their lengths are multiples of 4."""
        self.name: Final = name
        space = bytearray(_SIZE)
        _IDENTITY.pack_into(
            space,
            0,
            identity.vendor,
            identity.device,
            identity.revision,
            identity.class_code.to_bytes(3, "little"),
            _SEVERAL_FUNCTIONS if identity.has_several_functions else 0,
            identity.subsystem_vendor,
            identity.subsystem,
        )
        _link(space, capabilities)
        if interrupt is not None:
            space[ConfigurationRegister.INTERRUPT : ConfigurationRegister.INTERRUPT + 2] = interrupt.irq, _PIN_A
        self._registers: list[int] = list(struct.unpack(f"<{_SIZE // 4}I", space))
        self._writable: Final = {ConfigurationRegister.COMMAND: Command.INTERRUPT_DISABLE, ConfigurationRegister.INTERRUPT: 0xFF}
        self._interrupt: Final = interrupt
        self._interrupting = False
        self._uses_messages = False
        self._base_addresses: Final[list[BaseAddress]] = []
        self._own: Final[dict[int, WritableRegister]] = {}
        if capabilities:
            self._registers[ConfigurationRegister.COMMAND >> 2] |= _STATUS_CAPABILITIES
        self._left_by_firmware = tuple(self._registers)

    def reset(self) -> None:
        self._registers = list(self._left_by_firmware)
        self._interrupting = False
        self._tell()
        for base_address in self._base_addresses:
            base_address.space.reset()
        self._drive_interrupt()
        self.withdraw()  # they may have changed places
        self._place()

    def save(self) -> State:
        return self._FIELDS.save(self, spaces=[base_address.space.save() for base_address in self._base_addresses])

    def load(self, state: State) -> None:
        spaces = self._FIELDS.load(self, self.name, state)["spaces"]
        self._check_registers()
        check_count(self.name, "spaces", spaces, len(self._base_addresses))
        self._interrupting = False  # what is behind it says so, if it is
        self._tell()
        for base_address, saved in zip(self._base_addresses, spaces, strict=True):
            base_address.space.load(self._base(base_address), saved)
        self._drive_interrupt()

    def _check_registers(self) -> None:
        """StateError if a bit that cannot be written is another one than firmware has left."""
        for index, (value, left) in enumerate(zip(self._registers, self._left_by_firmware, strict=True)):
            if (value ^ left) & ~self._writable.get(4 * index, 0):
                raise StateError(self.name, f"register {4 * index:#x}", value, f"{left:#x} but for what can be written")

    def map(self, base_address: BaseAddress) -> None:
        """Gives the function memory or ports."""
        enabled = base_address.enable | Command.BUS_MASTER
        self._base_addresses.append(base_address)
        self._writable[base_address.register] = _WORD & -base_address.space.length
        self._writable[ConfigurationRegister.COMMAND] |= enabled
        kind = _PORT_SPACE if base_address.is_ports else _PREFETCHABLE if base_address.is_prefetchable else 0
        self._registers[base_address.register >> 2] = base_address.address | kind
        self._registers[ConfigurationRegister.COMMAND >> 2] |= enabled
        self._left_by_firmware = tuple(self._registers)
        self._place()

    def add_register(self, register: WritableRegister, value: int | None = None) -> None:
        """Makes bits of a register writable, which firmware leaves as they are, or as `value`."""
        self._own[register.offset] = register
        self._writable[register.offset] = register.mask
        if value is not None:
            self._registers[register.offset >> 2] = value
            self._left_by_firmware = tuple(self._registers)

    def fix_register(self, offset: int, value: int) -> None:
        """Firmware leaves `value` in the register, whether the guest can write to it or not."""
        self._registers[offset >> 2] = value
        self._left_by_firmware = tuple(self._registers)

    @property
    def is_bus_master(self) -> bool:
        """The function may access memory."""
        return bool(self._command & Command.BUS_MASTER)

    @property
    def _command(self) -> int:
        return self._registers[ConfigurationRegister.COMMAND >> 2]

    def set_interrupt(self, asserted: bool) -> None:
        """Whether the function has a reason for an interrupt: an `InterruptLine` for what is behind it."""
        self._interrupting = asserted
        self._drive_interrupt()

    def use_messages(self, used: bool) -> None:
        """The function interrupts by messages, and not by its pin, or no longer."""
        self._uses_messages = used
        self._drive_interrupt()

    # PciConfiguration

    def withdraw(self) -> None:
        for base_address in self._base_addresses:
            base_address.space.place(None)

    def read(self, register: int) -> int:
        value = self._registers[register >> 2]
        return value | _STATUS_INTERRUPT if register == ConfigurationRegister.COMMAND and self._interrupting else value

    def write(self, register: int, value: int, mask: int) -> None:
        mask &= self._writable.get(register, 0)
        index = register >> 2
        before = self._registers[index]
        self._registers[index] = after = before & ~mask | value & mask
        if before == after:
            return
        if register == ConfigurationRegister.COMMAND:
            self._drive_interrupt()
            self._place()
        elif register in self._own:
            self._own[register].written(after)
        elif register < ConfigurationRegister.CAPABILITIES:
            self._place()

    def _tell(self) -> None:
        for register in self._own.values():
            register.written(self._registers[register.offset >> 2])

    def _place(self) -> None:
        for base_address in self._base_addresses:
            base_address.space.place(self._base(base_address))

    def _base(self, base_address: BaseAddress) -> int | None:
        """Where memory or ports are; None while they do not respond."""
        address = self._registers[base_address.register >> 2]
        return address & -base_address.space.length if self._command & base_address.enable else None

    def _drive_interrupt(self) -> None:
        if self._interrupt is not None:
            silent = self._uses_messages or self._command & Command.INTERRUPT_DISABLE
            self._interrupt.line(self._interrupting and not silent)


def _link(space: bytearray, capabilities: Sequence[bytes]) -> None:
    """Puts a linked list of capabilities into a configuration space (section 6.7)."""
    link, offset = int(ConfigurationRegister.CAPABILITIES), FIRST_CAPABILITY
    for capability in capabilities:
        space[link] = offset
        space[offset : offset + len(capability)] = capability
        link, offset = offset + 1, offset + len(capability)
