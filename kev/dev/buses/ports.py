"""The I/O ports of a machine, and the devices behind them."""

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, Protocol, TypeAlias, runtime_checkable

from kev.dev.base import PortDevice
from kev.dev.buses.claims import Claims
from kev.errors import KevError

_PORTS: Final = 0x10000

_Reader: TypeAlias = Callable[[int, int], int]
_Writer: TypeAlias = Callable[[int, int, int], None]


@runtime_checkable
class WidePortDevice(PortDevice, Protocol):
    """A device of which some ports take 2 and 4 bytes in one access. All other ports are a byte wide."""

    @property
    def wide_ports(self) -> Sequence[range]: ...


class UnhandledPort(KevError):
    """An access to a port that no device answers, on a machine that is strict about it."""


class _Unbuilt(NamedTuple):
    """A device that nobody has accessed yet."""

    name: str
    ports: Sequence[range]
    build: Callable[[], PortDevice]


class PortBus:
    """Finds the device behind a port in one lookup.

    As on an ISA bus, an access of 2 or 4 bytes to a port that is a byte wide becomes accesses to as many ports, lowest first, each
    of which may belong to another device. A port without a device reads as all ones and ignores writes, unless the bus is strict.
    """

    __slots__ = ("_claims", "_readers", "_strict", "_unbuilt", "_writers")

    def __init__(self, strict: bool = False) -> None:
        """`strict`: accesses that no device answers are an UnhandledPort."""
        self._strict = strict
        self._claims = Claims("port")
        # By port << 3 | size, so that size and port are looked up at once.
        self._readers: dict[int, _Reader] = {}
        self._writers: dict[int, _Writer] = {}
        self._unbuilt: dict[int, _Unbuilt] = {}

    def attach(self, name: str, device: PortDevice) -> None:
        """Puts `device`, called `name` in errors, behind its ports. DeviceConflict if one is taken."""
        self._claims.claim(name, _numbers(device.ports))
        self._connect(device)

    def attach_later(self, name: str, ports: Sequence[range], build: Callable[[], PortDevice]) -> None:
        """As `attach`, for the device that `build` makes when one of its `ports` is first accessed.

        A device that the guest never accesses costs neither its making nor the import of its module.
        """
        numbers = _numbers(ports)
        self._claims.claim(name, numbers)
        self._unbuilt.update(dict.fromkeys(numbers, _Unbuilt(name, ports, build)))

    def _connect(self, device: PortDevice) -> None:
        self._route(device, device.ports, sizes=(1,))
        if isinstance(device, WidePortDevice):
            self._route(device, device.wide_ports, sizes=(2, 4))

    def _route(self, device: PortDevice, ranges: Sequence[range], sizes: Sequence[int]) -> None:
        keys = [port << 3 | size for port in _numbers(ranges) for size in sizes]
        self._readers.update(dict.fromkeys(keys, device.read_port))
        self._writers.update(dict.fromkeys(keys, device.write_port))

    def _build(self, port: int, size: int) -> bool:
        """Makes the devices that an access is the first to reach; says whether there were any."""
        found = {unbuilt.name: unbuilt for i in range(size) if (unbuilt := self._unbuilt.get((port + i) % _PORTS)) is not None}
        for unbuilt in found.values():
            device = unbuilt.build()
            if list(device.ports) != list(unbuilt.ports):
                raise ValueError(f"{unbuilt.name}: attached to {unbuilt.ports}, but its ports are {device.ports}")
            for number in _numbers(unbuilt.ports):
                del self._unbuilt[number]
            self._connect(device)
        return bool(found)

    def owners(self) -> list[tuple[str, range]]:
        """The names of the devices, each with a range of its ports, ascending."""
        return self._claims.ranges()

    def read(self, port: int, size: int) -> int:
        """IN: `size` bytes (1, 2, 4), little-endian."""
        reader = self._readers.get(port << 3 | size)
        if reader is not None:
            return reader(port, size)
        if self._build(port, size):
            return self.read(port, size)
        if size > 1 and self._reaches_device(port, size):
            return sum(self.read((port + i) % _PORTS, 1) << 8 * i for i in range(size))
        if self._strict:
            raise UnhandledPort(f"port {port:#x}: the guest reads {size} bytes, and no device answers")
        return (1 << 8 * size) - 1

    def write(self, port: int, size: int, value: int) -> None:
        """OUT: `size` bytes (1, 2, 4), little-endian."""
        writer = self._writers.get(port << 3 | size)
        if writer is not None:
            writer(port, size, value)
        elif self._build(port, size):
            self.write(port, size, value)
        elif size > 1 and self._reaches_device(port, size):
            for i in range(size):
                self.write((port + i) % _PORTS, 1, value >> 8 * i & 0xFF)
        elif self._strict:
            raise UnhandledPort(f"port {port:#x}: the guest writes {value:#x} ({size} bytes), and no device answers")

    def _reaches_device(self, port: int, size: int) -> bool:
        return any((port + i) % _PORTS in self._claims for i in range(size))


def _numbers(ranges: Sequence[range]) -> list[int]:
    return [port for ports in ranges for port in ports]
