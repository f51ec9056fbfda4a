"""The devices of one machine: on their buses, by name, and in an order that is always the same."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final, Protocol, TypeGuard

from kev.addressing import Gpa
from kev.dev.base import Device, MmioDevice, MsrDevice, PortDevice
from kev.dev.buses.claims import DeviceConflict
from kev.dev.buses.mmio import MmioBus
from kev.dev.buses.msrs import MsrBus
from kev.dev.buses.ports import PortBus, PortDeviceKind
from kev.dev.pci.bus import PciBus
from kev.dev.surroundings import Surroundings
from kev.named_tuple import NamedTuple
from kev.state import State, StateError


class Buses(NamedTuple):
    """What devices are attached to."""

    ports: PortBus
    msrs: MsrBus
    mmio: MmioBus
    pci: PciBus


class _Built(Device, PortDevice, Protocol):
    """A port device of a machine."""


class _BuiltPage(Device, MmioDevice, Protocol):
    """A device of a machine with a page of memory."""


class SeldomUsed(PortDeviceKind, Protocol):
    """A class of port devices that most guests never access."""

    def built_for(self, machine: Surroundings) -> _Built:
        """The one of a machine."""


class SeldomUsedPage(NamedTuple):
    """A device with one page of memory that most guests never access."""

    name: str
    gpa: Gpa
    path: str
    """The module and the name of the class, with a colon between them; its `built_for` makes the device."""


class _Later:
    """A device that is built when the guest first accesses it, or never; its module is imported not long before."""

    __slots__ = ("device", "kind", "path")

    def __init__(self, path: str) -> None:
        self.path: Final = path
        """The module and the name of the class, with a colon between them."""
        self.kind: SeldomUsed | None = None
        self.device: _Built | None = None


class Devices:
    """All there are. Those that are built later than the machine come behind the others.

    Which ports such a device has is said by its class alone, and so is not known before its module is imported. An access that
    nobody answers has the modules imported, one by one, until somebody does. A guest that accesses none of these devices imports
    none of them.
    """

    __slots__ = (
        "_attached",
        "_imported",
        "_inner",
        "_later",
        "_later_inner",
        "_later_pages",
        "_machine",
        "_names",
        "_pages",
        "buses",
    )

    def __init__(
        self, buses: Buses, machine: Surroundings, seldom_used: Sequence[str] = (), pages: Sequence[SeldomUsedPage] = ()
    ) -> None:
        """`seldom_used`: classes of kind `SeldomUsed`, as "module:class"; the first ones are imported first.

        `pages`: devices that are imported and built when somebody first accesses their page.
        """
        self.buses: Final = buses
        self._machine: Final = machine
        self._attached: Final[list[Device]] = []
        self._names: Final[set[str]] = set()
        self._later: Final = [_Later(path) for path in seldom_used]
        self._imported = 0
        """How many of them."""
        self._later_pages: Final = tuple(pages)
        self._pages: Final[dict[str, _BuiltPage]] = {}
        """Those of them that are built, by name."""
        self._later_inner: Final[dict[str, Callable[[], Device]]] = {}
        self._inner: Final[dict[str, Device]] = {}
        """Those of them that are built, by name."""
        buses.ports.find_more = self.import_next
        for page in pages:
            self._take_name(page.name)
            buses.mmio.attach_later(page.name, page.gpa, partial(self._build_page, page))

    def attach(self, device: Device) -> None:
        """Puts `device` on every bus that it has addresses on. DeviceConflict, with both names, if it shares one with another."""
        self._take_name(device.name)
        if _has_ports(device):
            self.buses.ports.attach(device)
        if _has_msrs(device):
            self.buses.msrs.attach(device)
        if _has_pages(device):
            self.buses.mmio.attach(device)
        self._attached.append(device)

    def add_later(self, name: str, build: Callable[[], Device]) -> None:
        """A device without addresses, built when `inner` is first asked for it."""
        self._take_name(name)
        self._later_inner[name] = build

    def inner(self, name: str) -> Device:
        """The device without addresses that is called so."""
        if name not in self._inner:
            self._inner[name] = self._later_inner[name]()
        return self._inner[name]

    def import_next(self) -> bool:
        """Imports the next device that is built later, and puts it on the bus; says whether there was one left."""
        if self._imported == len(self._later):
            return False
        later = self._later[self._imported]
        self._imported += 1
        kind: SeldomUsed = _imported(later.path)
        later.kind = kind
        self._take_name(kind.name)
        self.buses.ports.attach_later(kind, lambda: self._build(later, kind))
        return True

    def build(self, name: str) -> Device:
        """The device called so, one of those that are built later; it is built if it was not. LookupError if there is none."""
        while name not in self._names and self.import_next():
            pass
        for later in self._later:
            if later.kind is not None and later.kind.name == name:
                self.buses.ports.build_at(later.kind.ports[0].start)
                assert later.device is not None
                return later.device
        raise LookupError(f"no device called {name!r} is built later")

    def _build(self, later: _Later, kind: SeldomUsed) -> _Built:
        later.device = device = kind.built_for(self._machine)
        return device

    def _build_page(self, page: SeldomUsedPage) -> MmioDevice:
        device: _BuiltPage = _imported(page.path).built_for(self._machine)
        self._pages[page.name] = device
        return device

    def _take_name(self, name: str) -> None:
        if name in self._names:
            raise DeviceConflict(f"two devices are called {name!r}")
        self._names.add(name)

    # All of them at once

    def __iter__(self) -> Iterator[Device]:
        """Those that are built, in their order."""
        yield from self._attached
        for later in self._later:
            if later.device is not None:
                yield later.device
        yield from self._pages.values()
        yield from self._inner.values()

    def reset(self) -> None:
        """What switching the power on does to every device: see `Device.reset`."""
        for device in self:
            device.reset()

    def save(self) -> dict[str, State]:
        """The states of those that are built, by name; the others are as they would be built, and absent."""
        return {device.name: device.save() for device in self}

    def load(self, states: Mapping[str, State]) -> None:
        """Makes them the devices that were saved: see `Device.load`. Devices that are absent from `states` are as new.

        StateError if a device is missing that is always there, if one is not of this machine, or if a device refuses its state.
        """
        self._build_all(states)
        self.reset()
        for device in self:
            if device.name in states:
                device.load(states[device.name])
            elif device in self._attached:
                raise StateError("machine", f"device {device.name!r}", "missing", "there")

    def _build_all(self, states: Mapping[str, State]) -> None:
        while not states.keys() <= self._names and self.import_next():
            pass
        for name in states:
            if name not in self._names:
                raise StateError("machine", f"device {name!r}", states[name], "left out: this machine has none of that name")
        for later in self._later:
            if later.kind is not None and later.kind.name in states:
                self.build(later.kind.name)
        for page in self._later_pages:
            if page.name in states:
                self.buses.mmio.device_at(page.gpa)
        for name in self._later_inner.keys() & states.keys():
            self.inner(name)


def _imported(path: str) -> Any:
    """The class that a path names, as in `SeldomUsedPage`."""
    from importlib import import_module  # kept out of start-up: few guests come here

    module, _, name = path.partition(":")
    return getattr(import_module(module), name)


# Not `isinstance`: protocols take microseconds for it.


def _has_ports(device: Device) -> TypeGuard[PortDevice]:
    return hasattr(device, "ports")


def _has_msrs(device: Device) -> TypeGuard[MsrDevice]:
    return hasattr(device, "msrs")


def _has_pages(device: Device) -> TypeGuard[MmioDevice]:
    return hasattr(device, "gpa")
