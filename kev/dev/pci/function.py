"""One function of a PCI device: its configuration space, with a header of type 0 (PCI Local Bus Specification 3.0, chapter 6)."""

import struct
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

import attrs

from kev.dev.base import InterruptLine
from kev.state import PART, Fields, State, StateError, bits, listed, optional


class ConfigurationRegister:
    """Offsets of registers of 32 bits (figure 6-1)."""

    COMMAND: Final = 0x04
    """The status is its upper half."""
    BASE_ADDRESS: Final = 0x10
    CAPABILITIES: Final = 0x34
    INTERRUPT: Final = 0x3C


class Command:
    """Bits of the command register (section 6.2.2)."""

    MEMORY: Final = 1 << 1
    BUS_MASTER: Final = 1 << 2
    INTERRUPT_DISABLE: Final = 1 << 10


_STATUS_INTERRUPT: Final = 1 << 19
_STATUS_CAPABILITIES: Final = 1 << 20

_SIZE: Final = 0x100
_IDENTITY: Final = struct.Struct("<HH4xB3s32xHH")
_FIRST_CAPABILITY: Final = 0x40
_PIN_A: Final = 1


@attrs.frozen(slots=True)
class PciIdentity:
    """What a driver knows a function by."""

    vendor: int
    device: int
    class_code: int
    """Base class, sub-class and programming interface: 24 bits."""
    revision: int = 0
    subsystem_vendor: int = 0
    subsystem: int = 0


class PciMemory(Protocol):
    """Memory space of a function, which is where its base address register says. It is reset, saved and loaded as a `Device` is."""

    def reset(self) -> None: ...

    def save(self) -> State: ...

    def load(self, base: int | None, state: State) -> None:
        """Is at `base`, as `place` says, or was moved to where it does not respond."""

    @property
    def length(self) -> int:
        """In bytes: a power of 2."""

    def place(self, base: int | None) -> None:
        """Is at `base` from now on, or nowhere, since the function does not respond."""


@attrs.frozen(slots=True)
class BaseAddress:
    """A base address register for 32 bits of memory space, not prefetchable (section 6.2.5.1)."""

    index: int
    """0 to 5."""
    address: int
    """What firmware has assigned."""
    memory: PciMemory


@attrs.frozen(slots=True)
class InterruptPin:
    """INTA#, and where it goes."""

    irq: int
    """What firmware writes into the Interrupt Line register."""
    line: InterruptLine


class PciFunction:
    """A function as firmware leaves it: its memory has an address and it responds, as a bus master too.

    It is one `Device` with what is in its memory.
    """

    __slots__ = ("_base_address", "_interrupt", "_interrupting", "_left_by_firmware", "_registers", "_writable", "name")

    _FIELDS: Final = Fields({"_registers": listed(bits(32), _SIZE // 4)}, memory=optional(PART))

    def __init__(
        self,
        name: str,
        identity: PciIdentity,
        capabilities: Sequence[bytes] = (),
        interrupt: InterruptPin | None = None,
        kept: Mapping[int, int] | None = None,
    ) -> None:
        """`capabilities`: each with the id first and a byte for the link that follows it. Their lengths are multiples of 4.

        `kept`: bits that keep what is written and do nothing else, by the offsets of their registers.
        """
        self.name: Final = name
        space = bytearray(_SIZE)
        _IDENTITY.pack_into(
            space,
            0,
            identity.vendor,
            identity.device,
            identity.revision,
            identity.class_code.to_bytes(3, "little"),
            identity.subsystem_vendor,
            identity.subsystem,
        )
        _link(space, capabilities)
        if interrupt is not None:
            space[ConfigurationRegister.INTERRUPT : ConfigurationRegister.INTERRUPT + 2] = interrupt.irq, _PIN_A
        self._registers: list[int] = list(struct.unpack(f"<{_SIZE // 4}I", space))
        self._writable: Final = {
            ConfigurationRegister.COMMAND: Command.INTERRUPT_DISABLE,
            ConfigurationRegister.INTERRUPT: 0xFF,
            **(kept or {}),
        }
        self._interrupt: Final = interrupt
        self._interrupting = False
        self._base_address: BaseAddress | None = None
        if capabilities:
            self._registers[ConfigurationRegister.COMMAND >> 2] |= _STATUS_CAPABILITIES
        self._left_by_firmware = tuple(self._registers)

    def reset(self) -> None:
        self._registers = list(self._left_by_firmware)
        self._interrupting = False
        if self._base_address is not None:
            self._base_address.memory.reset()
        self._drive_interrupt()
        self._place_memory()

    def save(self) -> State:
        memory = None if self._base_address is None else self._base_address.memory.save()
        return self._FIELDS.save(self, memory=memory)

    def load(self, state: State) -> None:
        memory = self._FIELDS.load(self, self.name, state)["memory"]
        self._check_registers()
        self._interrupting = False  # what is behind it says so, if it is
        if (memory is None) is not (self._base_address is None):
            raise StateError(self.name, "memory", memory, "there if the function has memory, and only then")
        if self._base_address is not None:
            self._base_address.memory.load(self._memory_base(self._base_address), memory)
        self._drive_interrupt()

    def _check_registers(self) -> None:
        """StateError if a bit that cannot be written is another one than firmware has left."""
        for index, (value, left) in enumerate(zip(self._registers, self._left_by_firmware, strict=True)):
            if (value ^ left) & ~self._writable.get(4 * index, 0):
                raise StateError(self.name, f"register {4 * index:#x}", value, f"{left:#x} but for what can be written")

    def map(self, base_address: BaseAddress) -> None:
        """Gives the function its memory."""
        register = ConfigurationRegister.BASE_ADDRESS + 4 * base_address.index
        self._base_address = base_address
        self._writable[register] = 0x1_0000_0000 - base_address.memory.length
        self._writable[ConfigurationRegister.COMMAND] |= Command.MEMORY | Command.BUS_MASTER
        self._registers[register >> 2] = base_address.address
        self._registers[ConfigurationRegister.COMMAND >> 2] |= Command.MEMORY | Command.BUS_MASTER
        self._left_by_firmware = tuple(self._registers)
        self._place_memory()

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

    # PciConfiguration

    def withdraw(self) -> None:
        if self._base_address is not None:
            self._base_address.memory.place(None)

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
            self._place_memory()
        elif register < ConfigurationRegister.CAPABILITIES:
            self._place_memory()

    def _place_memory(self) -> None:
        if self._base_address is not None:
            self._base_address.memory.place(self._memory_base(self._base_address))

    def _memory_base(self, base_address: BaseAddress) -> int | None:
        """Where the function's memory is; None while it does not respond."""
        address = self._registers[(ConfigurationRegister.BASE_ADDRESS >> 2) + base_address.index]
        return address if self._command & Command.MEMORY else None

    def _drive_interrupt(self) -> None:
        if self._interrupt is not None:
            self._interrupt.line(self._interrupting and not self._command & Command.INTERRUPT_DISABLE)


def _link(space: bytearray, capabilities: Sequence[bytes]) -> None:
    """Puts a linked list of capabilities into a configuration space (section 6.7)."""
    link, offset = int(ConfigurationRegister.CAPABILITIES), _FIRST_CAPABILITY
    for capability in capabilities:
        space[link] = offset
        space[offset : offset + len(capability)] = capability
        link, offset = offset + 1, offset + len(capability)
