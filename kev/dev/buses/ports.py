"""The I/O ports of a machine, and the devices behind them."""

from collections.abc import Callable, Sequence
from typing import Final, Protocol, TypeAlias, cast

from kev.dev.base import PortDevice
from kev.dev.buses.claims import Claims
from kev.errors import KevError
from kev.named_tuple import NamedTuple

PORTS: Final = 0x10000
"""How many there are."""

_Reader: TypeAlias = Callable[[int, int], int]
_Writer: TypeAlias = Callable[[int, int, int], None]


class PortDeviceKind(Protocol):
    """A class of port devices, which says where they are.

    Its `wide_ports`, if it has that, are ranges of those that take 2 and 4 bytes in one access. All others are a byte wide.
    If it has `block_ports`, it is a `BlockDevice` there.
    """

    @property
    def name(self) -> str: ...

    @property
    def ports(self) -> Sequence[range]: ...


class BlockDevice(PortDevice, Protocol):
    """A port device that takes many accesses to some of its ports as one."""

    block_ports: Sequence[int]

    def block_length(self, writes: bool) -> int:
        """How many bytes may be read now, or written, in one access to such a port."""


class Iterations(Protocol):
    """Iterations of INS or OUTS that are made in one exit, the first of which is the exit's own."""

    @property
    def length(self) -> int:
        """Bytes of all."""

    def load(self) -> int:
        """All that OUTS sends, the first iteration's bytes lowest. They are done, when the exit is."""

    def store(self, value: int) -> int:
        """Stores all that INS gets, and returns the exit's reply."""


class FindIterations(Protocol):
    """See `kev.engine.base.Engine.find_iterations`."""

    def __call__(self, port: int, size: int, length: int, *, stores: bool) -> Iterations | None: ...


class UnhandledPort(KevError):
    """An access to a port that no device answers, on a machine that is strict about it."""


class _Unbuilt(NamedTuple):
    """A device that nobody has accessed yet."""

    kind: PortDeviceKind
    build: Callable[[], PortDevice]


class _BlockPort:
    """A port that INS and OUTS read and write in blocks, where the processor says how much."""

    __slots__ = ("_bus", "_device")

    def __init__(self, bus: "PortBus", device: BlockDevice) -> None:
        self._bus: Final = bus
        self._device: Final = device

    def read(self, port: int, size: int) -> int:
        found = self._find(port, size, writes=False)
        return self._device.read_port(port, size) if found is None else found.store(self._device.read_port(port, found.length))

    def write(self, port: int, size: int, value: int) -> None:
        found = self._find(port, size, writes=True)
        if found is None:
            self._device.write_port(port, size, value)
        else:
            self._device.write_port(port, found.length, found.load())

    def _find(self, port: int, size: int, *, writes: bool) -> Iterations | None:
        find = self._bus.find_iterations
        return None if find is None else find(port, size, self._device.block_length(writes), stores=not writes)


class PortBus:
    """Finds the device behind a port in one lookup.

    As on an ISA bus, an access of 2 or 4 bytes to a port that is a byte wide becomes accesses to as many ports, lowest first, each
    of which may belong to another device. A port without a device reads as all ones and ignores writes, unless the bus is strict.
    """

    __slots__ = ("_claims", "_keys", "_readers", "_strict", "_unbuilt", "_writers", "find_iterations", "find_more", "unanswered")

    def __init__(self, strict: bool = False) -> None:
        """`strict`: accesses that no device answers are an UnhandledPort."""
        self.find_more: Callable[[], bool] = _nothing_more
        """Asked before an access finds nobody: attaches another device, and says whether there was one left."""
        self.find_iterations: FindIterations | None = None
        """Says at an access to a block port how many iterations of INS or OUTS begin with it."""
        self.unanswered: Final[set[int]] = set()
        """Ports that were accessed, and that no device answers."""
        self._strict = strict
        self._claims = Claims("port")
        # By port << 3 | size, so that size and port are looked up at once.
        self._readers: dict[int, _Reader] = {}
        self._writers: dict[int, _Writer] = {}
        self._keys: set[int] = set()
        """All that are answered in one access, be the device built or not."""
        self._unbuilt: dict[int, _Unbuilt] = {}

    def attach(self, device: PortDevice) -> None:
        """Puts `device` behind its ports. DeviceConflict if one is taken."""
        keys = self._claim(device)
        self._connect(device, keys)

    def detach(self, device: PortDevice) -> None:
        """Takes a device away that is behind its ports."""
        self._claims.release(_numbers(device.ports))
        for key in _keys(device):
            self._keys.remove(key)
            del self._readers[key]
            del self._writers[key]

    def attach_later(self, kind: PortDeviceKind, build: Callable[[], PortDevice]) -> None:
        """As `attach`, for the device of this kind that `build` makes when one of its ports is first accessed."""
        self._claim(kind)
        self._unbuilt.update(dict.fromkeys(_numbers(kind.ports), _Unbuilt(kind, build)))

    def build_at(self, port: int) -> None:
        """Makes the device behind `port`, if it is one that is not made yet."""
        unbuilt = self._unbuilt.get(port)
        if unbuilt is not None:
            self._build(unbuilt)

    def _is_claimed(self, port: int) -> bool:
        """A device, built or not, is behind the port."""
        return port in self._claims

    def _claim(self, kind: PortDeviceKind) -> list[int]:
        ports = _numbers(kind.ports)
        self._claims.claim(kind.name, ports)
        keys = _keys(kind)
        self._keys.update(keys)
        return keys

    def _connect(self, device: PortDevice, keys: Sequence[int]) -> None:
        self._readers.update(dict.fromkeys(keys, device.read_port))
        self._writers.update(dict.fromkeys(keys, device.write_port))
        blocks: Sequence[int] = getattr(device, "block_ports", ())
        for key in keys:
            if key >> 3 in blocks:
                port = _BlockPort(self, cast(BlockDevice, device))
                self._readers[key], self._writers[key] = port.read, port.write

    def _find_device(self, port: int, size: int) -> bool:
        """Makes the devices that an access is the first to reach; says whether there were any."""
        ports = [(port + i) % PORTS for i in range(size)]
        while port << 3 | size not in self._keys and not all(map(self._is_claimed, ports)) and self.find_more():
            pass
        unbuilt = [number for number in ports if number in self._unbuilt]
        for number in unbuilt:
            self.build_at(number)
        return bool(unbuilt)

    def _build(self, unbuilt: _Unbuilt) -> None:
        device = unbuilt.build()
        for number in _numbers(unbuilt.kind.ports):
            del self._unbuilt[number]
        self._connect(device, _keys(unbuilt.kind))

    def owners(self) -> list[tuple[str, range]]:
        """The names of the devices, each with a range of its ports, ascending."""
        return self._claims.ranges()

    def read(self, port: int, size: int) -> int:
        """IN: `size` bytes (1, 2, 4), little-endian."""
        reader = self._readers.get(port << 3 | size)
        if reader is not None:
            return reader(port, size)
        if self._find_device(port, size):
            return self.read(port, size)
        if size > 1 and self._reaches_device(port, size):
            return sum(self.read((port + i) % PORTS, 1) << 8 * i for i in range(size))
        if self._strict:
            raise UnhandledPort(f"port {port:#x}: the guest reads {size} bytes, and no device answers")
        self.unanswered.add(port)
        return (1 << 8 * size) - 1

    def write(self, port: int, size: int, value: int) -> None:
        """OUT: `size` bytes (1, 2, 4), little-endian."""
        writer = self._writers.get(port << 3 | size)
        if writer is not None:
            writer(port, size, value)
        elif self._find_device(port, size):
            self.write(port, size, value)
        elif size > 1 and self._reaches_device(port, size):
            for i in range(size):
                self.write((port + i) % PORTS, 1, value >> 8 * i & 0xFF)
        elif self._strict:
            raise UnhandledPort(f"port {port:#x}: the guest writes {value:#x} ({size} bytes), and no device answers")
        else:
            self.unanswered.add(port)

    def _reaches_device(self, port: int, size: int) -> bool:
        return any((port + i) % PORTS in self._claims for i in range(size))


def _nothing_more() -> bool:
    return False


def _keys(kind: PortDeviceKind) -> list[int]:
    """What a device answers in one access: bytes at all of its ports, words and dwords at some."""
    wide: Sequence[range] = getattr(kind, "wide_ports", ())
    return [port << 3 | 1 for port in _numbers(kind.ports)] + [port << 3 | size for port in _numbers(wide) for size in (2, 4)]


def _numbers(ranges: Sequence[range]) -> list[int]:
    return [port for ports in ranges for port in ports]
