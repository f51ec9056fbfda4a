"""The description of a machine: all that decides what a guest is launched on, as one value."""

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, Self

from kev.boot.protocols import DEFAULT_MEMORY, default_memory
from kev.errors import nearest_of
from kev.named_tuple import NamedTuple
from kev.spec import values
from kev.spec.errors import SpecError
from kev.spec.fields import FIELDS, field_named, names
from kev.spec.files import DiskFile, ModuleFile

if TYPE_CHECKING:
    from typing import Unpack

    from kev.spec.wishes import StrPath, Wishes


class _Fields(NamedTuple):
    """In the order of `kev.spec.fields.FIELDS`, behind the image."""

    image: str = ""
    """A file, the name of a guest on the root file system, or a URL; empty if something else says what is launched."""
    memory: int | None = None
    """Bytes of RAM: from 1 MiB to 1 TiB, whole pages of 4 KiB."""
    vcpus: int | None = None
    """1 to 64."""
    boot: str | None = None
    """The name of a boot protocol (`kev.boot.protocols`); without it, the image says which."""
    abi: str | None = None
    """The name of a guest ABI (`kev.abi`)."""
    syscall: str | None = None
    """`native`, `intercept` or `emulate`: who carries SYSCALL out, the processor, the hypervisor, or the guest with its help."""
    command_line: str | None = None
    """The kernel's."""
    modules: tuple[ModuleFile, ...] = ()
    disks: tuple[DiskFile, ...] = ()
    """Without an image, the first one is booted from."""
    firmware: str | None = None
    """A ROM, which is started instead of the image; that, if there is one, is the IDE channel's first disk."""
    boot_sector: str | None = None
    """What enters a guest of the JOS VMM; the protocol's own without it. Says, where `boot` does not, that the image is one."""
    paging: str | None = None
    """`lazy`, `eager`, `around=N`, `record=FILE` or `prefetch=FILE`: which pages are loaded besides those that are touched."""
    source_latency: str | None = None
    """How slow reading the image is made (`kev.spec.source_latency`)."""
    seed: int | None = None
    """Makes the run repeatable, bit for bit."""
    timeout: float | None = None
    """Seconds after which the run is ended."""
    max_pages: int | None = None
    """Pages of 4 KiB; the run is ended before more are loaded."""
    max_output: int | None = None
    """Bytes; the run is ended when the guest prints more."""
    retry: int | None = None
    """How often what an image's source cannot give is asked for again."""
    timeline: bool | None = None
    """Every violation and load is put into the report."""
    lenient_msr: bool | None = None
    """Unknown MSRs read as 0 instead of raising #GP."""
    strict_ports: bool | None = None
    """Ports without a device end the run instead of reading all ones."""
    strict_memory: bool | None = None
    """Addresses without memory or a device end the run instead of reading all ones."""
    keyboard: bool | None = None
    """Input is typed on the keyboard instead of on COM1's line."""


class MachineSpec(_Fields):
    """What a machine is to be like. A field that is None or empty is as the guest wants it, or else as `DEFAULTS` has it.

    Made from keywords: those of the fields, and those of the command line (`smp`, `append`, `module`, `disk`); values may be
    written as on the command line, too: `MachineSpec("kernel", memory="64M", smp=2, disks=["fs.img,ide"])`. None is as if not said.
    """

    __slots__ = ()

    def __new__(cls, image: "StrPath" = "", **wishes: "Unpack[Wishes]") -> Self:
        """SpecError, naming the keyword, if a value cannot be, or if there is no such keyword."""
        return cls.of({"image": image, **wishes} if image != "" else wishes)

    @classmethod
    def of(cls, given: Mapping[str, Any], label: Callable[[str], str] = str) -> Self:
        """The description with the fields in `given`, by any of their names; `label` says what messages call one. SpecError."""
        found: dict[str, Any] = {}
        for name, value in given.items():
            if value is None:
                continue
            if name == "image":
                found[name] = values.path(label(name), value)
                continue
            field = field_named(name)
            if field is None:
                raise _unknown_field(label(name))
            if field.name in found:
                raise SpecError(f"{label(name)}: {field.name} is given twice")
            found[field.name] = field.convert(label(name), value)
        return cls._of(found)

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Self:
        """The description of what was given on a command line, by the names of fields. SpecError names the option."""
        labels = {"image": "IMAGE"} | {field.name: field.option for field in FIELDS}
        return cls.of({name: value for name, value in options.items() if value != ()}, labels.__getitem__)

    @classmethod
    def _of(cls, fields: Mapping[str, Any]) -> Self:
        """Of values that are what they have to be."""
        return cls._make(map(fields.get, cls._fields, _UNSET))

    def __reduce__(self) -> tuple[Any, ...]:
        return self._make, (tuple(self),)

    def replace(self, **wishes: Any) -> Self:
        """The same with other values for some fields. None, or an empty list, takes a value away. SpecError."""
        of_wishes = type(self).of(wishes)
        given = {field.name if (field := field_named(name)) is not None else name for name in wishes}
        return type(self)._make(new if name in given else old for name, old, new in zip(self._fields, self, of_wishes, strict=True))

    def given(self) -> dict[str, Any]:
        """The fields that say something."""
        return {name: value for name, value, unset in zip(self._fields, self, _UNSET, strict=True) if value != unset}

    def over(self, other: "MachineSpec") -> Self:
        """What this description says, and where it says nothing, what `other` says."""
        return type(self)._make(mine if mine != unset else others for mine, others, unset in zip(self, other, _UNSET, strict=True))

    def resolved(self, guest: "MachineSpec | None" = None, protocol: str | None = None) -> Self:
        """The same with what `guest` wants, and then `DEFAULTS`, where nothing is said.

        `guest` is the description that a guest of the root file system has of its machine (`kev.guests.catalogue.Guest.spec`).
        `protocol` is what the image is booted by, if that is known: it has a say in how much memory there is by default.
        """
        said = self if guest is None else self.over(guest)
        if said.memory is None:
            said = said._replace(memory=default_memory(said.protocol or protocol))
        return said.over(DEFAULTS)

    @property
    def protocol(self) -> str | None:
        """The boot protocol that it asks for, by its name or by giving what only one has; None if the image says which."""
        return "jos" if self.boot is None and self.boot_sector is not None else self.boot

    def in_folder(self, folder: "StrPath", is_guest: Callable[[str], bool]) -> Self:
        """The same with relative names of files taken from `folder`; `is_guest` knows which images are guests' names."""
        return self.with_files(lambda name: _in_folder(folder, name), is_guest)

    def with_files(self, place: Callable[[str], str], is_guest: Callable[[str], bool]) -> Self:
        """The same with the names that `place` gives to its files. URLs, and images that `is_guest` knows, stay what they are."""
        image = self.image
        if image and "://" not in image and (os.sep in image or not is_guest(image)):
            image = place(image)
        kind, equals, file = (self.paging or "").partition("=")
        return self._replace(
            image=image,
            modules=tuple(module._replace(path=place(module.path)) for module in self.modules),
            disks=tuple(disk._replace(path=place(disk.path), overlay=disk.overlay and place(disk.overlay)) for disk in self.disks),
            firmware=None if self.firmware is None else place(self.firmware),
            boot_sector=None if self.boot_sector is None else place(self.boot_sector),
            paging=f"{kind}={place(file)}" if equals and kind != "around" else self.paging,
        )

    # Written forms. Each is read back as the same description.

    def to_dict(self) -> dict[str, Any]:
        """As plain data: texts, numbers, lists and dicts."""
        from kev.spec.data import to_data

        return to_data(self.given())

    def to_arguments(self) -> list[str]:
        """As words of a command line, behind `kev run`."""
        from kev.spec.arguments import to_arguments

        return to_arguments(self.given())

    def to_json(self) -> str:
        from kev.spec.data import to_json

        return to_json(self.given())

    @classmethod
    def from_json(cls, text: str | bytes, name: str = "JSON") -> Self:
        """SpecError, naming `name`, if `text` is no JSON object, has a key that no field is called, or a value that cannot be."""
        from kev.spec.data import from_json

        return cls._from_data(from_json(text, name), name)

    def to_toml(self) -> str:
        """SpecError if a name or text in it is not Unicode."""
        from kev.spec.data import to_toml

        return to_toml(self.given())

    @classmethod
    def from_toml(cls, text: str, name: str = "TOML") -> Self:
        """SpecError, naming `name`, as `from_json`."""
        from kev.spec.data import from_toml

        return cls._from_data(from_toml(text, name), name)

    @classmethod
    def _from_data(cls, data: Mapping[str, Any], name: str) -> Self:
        try:
            return cls.of(data)
        except SpecError as error:
            raise SpecError(f"{name}: {error}") from None


_UNSET: Final = tuple(_Fields())

DEFAULTS: Final = MachineSpec._of(
    {
        "memory": DEFAULT_MEMORY,
        "vcpus": 1,
        "syscall": "native",
        "command_line": "",
        "paging": "lazy",
        "timeline": False,
        "lenient_msr": False,
        "strict_ports": False,
        "strict_memory": False,
        "keyboard": False,
    }
)
"""The machine of a guest that says nothing about it."""


def _in_folder(folder: "StrPath", path: str) -> str:
    joined = os.path.join(folder, path)
    # A name without a folder might be a guest's.
    return joined if os.sep in joined else os.path.join(os.curdir, joined)


def _unknown_field(name: str) -> SpecError:
    nearest = nearest_of(name, names())
    hint = "" if nearest is None else f"; is it {nearest!r}?"
    return SpecError(f"{name}: a machine's description has no such field{hint}")
