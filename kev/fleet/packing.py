"""Work as bytes: what describes a machine takes its files along.

On the way to a worker, the names of files in a `MachineSpec` or a `SnapshotReference` become `Shipped`, and there the names of what
has arrived; on the way back they become again what they were.
"""

import io
import pickle
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import Any, Final, NamedTuple

from kev.fleet.errors import FleetError
from kev.fleet.files import Arrivals, Shipped, Shipper
from kev.guests.spec_files import is_guest
from kev.race.guest.snapshot import SnapshotReference
from kev.spec.machine_spec import MachineSpec

PROTOCOL: Final = 5
"""Of pickle (PEP 574): parts of files stay beside it, and are not copied into it."""


class ByPage(NamedTuple):
    """A description of which the image is read where it is stored, page by page, where that is possible."""

    spec: MachineSpec


class Packed(NamedTuple):
    """An object, and the parts of files that go with it."""

    data: bytes
    parts: Sequence[pickle.PickleBuffer]


def pack(value: object, shipper: Shipper) -> Packed:
    """`value` and all files that are named in it. FleetError if one of them cannot be sent; whatever reading it raises."""
    data = io.BytesIO()
    parts: list[pickle.PickleBuffer] = []
    _Packer(data, shipper, parts.append).dump(value)
    return Packed(data.getvalue(), parts)


class Unpacking:
    """What was packed, where it has arrived."""

    def __init__(self, arrivals: Arrivals) -> None:
        self._arrivals: Final = arrivals
        self._originals: Final[dict[str, str]] = {}
        """What files that have arrived were called."""

    def unpack(self, data: bytes, parts: Sequence[Any]) -> Any:
        token = _unpacking.set(self)
        try:
            return pickle.loads(data, buffers=parts)
        finally:
            _unpacking.reset(token)

    def pack_result(self, result: object) -> bytes:
        """With the names of files that they had."""
        data = io.BytesIO()
        _ResultPacker(data, self.original).dump(result)
        return data.getvalue()

    def original(self, name: str) -> str:
        return self._originals.get(name, name)

    def restore_names(self, text: str) -> str:
        """The same of a message."""
        for name, original in self._originals.items():
            text = text.replace(name, original)
        return text

    def file(self, shipped: Shipped) -> str:
        return self._noted(self._arrivals.file(shipped), shipped.name)

    def url_or_file(self, shipped: Shipped) -> str:
        return self._noted(shipped.url, shipped.name) if shipped.url else self.file(shipped)

    def _noted(self, name: str, original: str) -> str:
        self._originals[name] = original
        return name


_unpacking: ContextVar[Unpacking] = ContextVar("kev_unpacking")


class _Packer(pickle.Pickler):
    def __init__(self, file: io.BytesIO, shipper: Shipper, keep: Callable[[pickle.PickleBuffer], object]) -> None:
        super().__init__(file, PROTOCOL, buffer_callback=keep)
        self._shipper: Final = shipper

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, MachineSpec):
            return _arrived_spec, (tuple(value), self._files(value))
        if isinstance(value, ByPage):
            return _arrived_by_page, (tuple(value.spec), self._files(value.spec))
        if isinstance(value, SnapshotReference):
            return _arrived_reference, (value.id, self._shipper.ship(value.file))
        return NotImplemented

    def _files(self, spec: MachineSpec) -> dict[str, Shipped]:
        if (spec.paging or "").startswith("record="):
            raise FleetError(f"paging: {spec.paging!r}: a file of this computer cannot be written from another one")
        files: dict[str, Shipped] = {}

        def ship(name: str) -> str:
            files[name] = self._shipper.ship(name)
            return name

        spec.with_files(ship, is_guest)
        return files


class _ResultPacker(pickle.Pickler):
    def __init__(self, file: io.BytesIO, original: Callable[[str], str]) -> None:
        super().__init__(file, PROTOCOL)
        self._original: Final = original

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, MachineSpec):
            return MachineSpec._make, (tuple(value.with_files(self._original, is_guest)),)
        if isinstance(value, SnapshotReference):
            return SnapshotReference, (self._original(value.file), value.id)
        return NotImplemented


def _arrived_spec(fields: tuple[Any, ...], files: dict[str, Shipped]) -> MachineSpec:
    arrived = _unpacking.get().file
    return MachineSpec._make(fields).with_files(lambda name: arrived(files[name]), is_guest)


def _arrived_by_page(fields: tuple[Any, ...], files: dict[str, Shipped]) -> ByPage:
    unpacking, spec = _unpacking.get(), MachineSpec._make(fields)
    others = spec._replace(image="").with_files(lambda name: unpacking.file(files[name]), is_guest)
    image = unpacking.url_or_file(files[spec.image]) if spec.image in files else spec.image
    return ByPage(others._replace(image=image))


def _arrived_reference(digits: str, shipped: Shipped) -> SnapshotReference:
    return SnapshotReference(_unpacking.get().file(shipped), digits)
