"""PCI bus 0, behind configuration mechanism #1 (PCI Local Bus Specification 3.0, section 3.2.2.3.2).

One byte among its ports is the chipset's own: the reset control register (Intel 82371SB datasheet, "RC").
"""

from collections.abc import Callable
from typing import Final, Protocol

from kev.dev.base import PlainDevice
from kev.dev.buses.claims import DeviceConflict
from kev.state import Fields, State, bits

DEVICES: Final = 32
"""How many there can be."""

CONFIG_ADDRESS: Final = 0xCF8
_RESET_CONTROL: Final = 0xCF9
_RESET: Final = 1 << 2
CONFIG_DATA: Final = 0xCFC
_ADDRESS_BITS: Final = 0x80FF_FFFC
"""The enable bit, bus, device, function and register; the others read as 0."""
ENABLED: Final = 0x8000_0000
_DEVICE_SHIFT: Final = 11
_FUNCTION_SHIFT: Final = 8
_FUNCTIONS: Final = 8
_REGISTER_BITS: Final = 0xFF

_ALL_ONES: Final = {1: 0xFF, 2: 0xFFFF, 4: 0xFFFF_FFFF}
_DWORD: Final = 0xFFFF_FFFF


class PciConfiguration(Protocol):
    """The configuration space of one function: 64 registers of 32 bits."""

    def withdraw(self) -> None:
        """Does not respond in memory and at ports, until the function is loaded or written to."""

    def read(self, register: int) -> int:
        """The register at offset `register`, a multiple of 4."""

    def write(self, register: int, value: int, mask: int) -> None:
        """Writes those bits of a register that `mask` has: whole bytes."""


class PciBus(PlainDevice):
    """Devices and their functions. Whatever else a guest selects is not there, and reads as all ones.

    The functions are devices of their own.
    """

    FIELDS = Fields({"_address": bits(32)})

    name: Final = "PCI configuration"
    ports: Final = (range(CONFIG_ADDRESS, CONFIG_ADDRESS + 4), range(CONFIG_DATA, CONFIG_DATA + 4))
    wide_ports: Final = ports

    __slots__ = ("_address", "_functions", "_reset_machine")

    def __init__(self) -> None:
        self._functions: Final[dict[int, PciConfiguration]] = {}
        """By the address of register 0."""
        self._reset_machine: Callable[[], None] | None = None
        self.reset()

    def connect(self, reset_machine: Callable[[], None]) -> None:
        """`reset_machine` is called when the guest does that."""
        self._reset_machine = reset_machine

    def reset(self) -> None:
        """The functions, which are reset afterwards, do not respond until then: they may have changed places."""
        self._address = 0
        self._withdraw()

    def load(self, state: State) -> None:
        """The functions, which are loaded afterwards, do not respond until then: they may have changed places."""
        super().load(state)
        self._withdraw()

    def _withdraw(self) -> None:
        for function in self._functions.values():
            function.withdraw()

    def attach(self, device: int, function: PciConfiguration, number: int = 0) -> None:
        """Puts `function` on the bus as that `number` (0 to 7) of device `device` (0 to 31). DeviceConflict if there is one."""
        if not 0 <= device < DEVICES:
            raise ValueError(f"PCI device {device}: there are 0 to {DEVICES - 1}")
        if not 0 <= number < _FUNCTIONS:
            raise ValueError(f"PCI device {device}, function {number}: there are 0 to {_FUNCTIONS - 1}")
        address = ENABLED | device << _DEVICE_SHIFT | number << _FUNCTION_SHIFT
        if address in self._functions:
            raise DeviceConflict(f"PCI device {device}, function {number}, is wanted twice")
        self._functions[address] = function

    def has(self, device: int) -> bool:
        """There is a function 0 of this number."""
        return ENABLED | device << _DEVICE_SHIFT in self._functions

    def attach_later(self, device: int, identity: int, build: Callable[[], PciConfiguration]) -> None:
        """As `attach`, for function 0 that `build` makes when a guest wants more of it than its `identity`, register 0."""
        self.attach(device, _Unbuilt(self._functions, device, identity, build))

    def identities(self) -> list[tuple[int, str]]:
        """The numbers of the devices, each with its vendor and device in hexadecimal, as in `8086:1237`; ascending."""
        words = {address: function.read(0) for address, function in sorted(self._functions.items())}
        return [((address & ~ENABLED) >> _DEVICE_SHIFT, f"{word & 0xFFFF:04x}:{word >> 16:04x}") for address, word in words.items()]

    def read_port(self, port: int, size: int) -> int:
        if port >= CONFIG_DATA:
            function = self._functions.get(self._address & ~_REGISTER_BITS)
            if function is not None:
                word = function.read(self._address & _REGISTER_BITS)
                # What reaches beyond the register reads as ones.
                return (_DWORD << 32 | word) >> 8 * (port - CONFIG_DATA) & _ALL_ONES[size]
        # Only a dword at 0xcf8 reaches the address register; anything smaller is an access to a port that is not there.
        elif port == CONFIG_ADDRESS and size == 4:
            return self._address
        elif port == _RESET_CONTROL and size == 1:
            return 0
        return _ALL_ONES[size]

    def write_port(self, port: int, size: int, value: int) -> None:
        if port >= CONFIG_DATA:
            function = self._functions.get(self._address & ~_REGISTER_BITS)
            if function is not None:
                shift = 8 * (port - CONFIG_DATA)
                function.write(self._address & _REGISTER_BITS, value << shift & _DWORD, _ALL_ONES[size] << shift & _DWORD)
        elif port == CONFIG_ADDRESS and size == 4:
            self._address = value & _ADDRESS_BITS
        elif port == _RESET_CONTROL and size == 1 and value & _RESET and self._reset_machine is not None:
            self._reset_machine()


class _Unbuilt:
    """A function that nobody has looked into."""

    __slots__ = ("_address", "_build", "_functions", "_identity")

    def __init__(
        self, functions: dict[int, PciConfiguration], device: int, identity: int, build: Callable[[], PciConfiguration]
    ) -> None:
        self._functions: Final = functions
        self._address: Final = ENABLED | device << _DEVICE_SHIFT
        self._identity: Final = identity
        self._build: Final = build

    def withdraw(self) -> None:
        pass

    def read(self, register: int) -> int:
        return self._built().read(register) if register else self._identity

    def write(self, register: int, value: int, mask: int) -> None:
        self._built().write(register, value, mask)

    def _built(self) -> PciConfiguration:
        self._functions[self._address] = function = self._build()
        return function
