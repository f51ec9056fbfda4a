"""The options of commands that take a guest, as a table: click's are made of it, and `kev run` is read by it without click."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final

from kev.errors import known_names
from kev.guests.images import DEFAULT_IMAGE
from kev.named_tuple import NamedTuple
from kev.spec.errors import SpecError
from kev.spec.fields import FIELDS, Arity, Field
from kev.spec.machine_spec import MachineSpec


class Option(NamedTuple):
    """An option of a command line."""

    name: str
    """Of the parameter that it is."""
    switches: tuple[str, ...]
    """What it is called, with hyphens."""
    help: str
    metavar: str = ""
    arity: Arity = Arity.ONE
    denial: str = ""
    """What denies a flag, if anything does."""
    values: int = 1
    """How many words follow it."""
    hidden: bool = False
    """Help does not name it: it is there to be refused with a reason."""

    @classmethod
    def of(cls, field: Field) -> "Option":
        """The option that says a field of a machine's description."""
        return cls(
            field.name, field.options, field.help, field.metavar, field.arity, field.denial if field.arity is Arity.FLAG else ""
        )


_CDROM_DEVICE: Final = "cdrom"
"""What a CD is behind: one of `kev.spec.files.DISK_DEVICES`."""
SPEC_FILE: Final = Option(
    "spec", ("--spec",), "Take the description of the machine from a TOML file; options override it.", "FILE.toml"
)
CDROM: Final = Option("cdrom", ("--cdrom",), "A CD, which is never written; as --disk FILE,cdrom.", "FILE", arity=Arity.MANY)
PRINT_SPEC: Final = Option(
    "print_spec", ("--print-spec",), "Print the machine's description as TOML, and do not launch it.", arity=Arity.FLAG
)


def machine_options(*, without: Collection[str] = ()) -> list[Option]:
    """The options that describe a machine, one for CDs, and one for a file that describes it; `without` those of some fields."""
    return [*(Option.of(field) for field in FIELDS if field.name not in without), CDROM, SPEC_FILE]


def described(given: Mapping[str, Any], *, may_start_disk: bool = False) -> MachineSpec:
    """The machine that a command line describes: `given` has the values of `machine_options`, and `image`. SpecError.

    `may_start_disk`: without an image, but with a disk or a firmware, there is no image; else the default one takes its place.
    """
    names = {"image", *(field.name for field in FIELDS)}
    fields = {name: value for name, value in given.items() if name in names}
    if cds := given.get("cdrom"):
        fields["disks"] = (*fields["disks"], *(f"{cd},{_CDROM_DEVICE}" for cd in cds))
    spec = MachineSpec.from_options(fields)
    if given["spec"] is not None:
        from kev.guests.spec_files import read_spec

        spec = spec.over(read_spec(given["spec"], waits=True))
    if spec.image.endswith(".toml") and given["spec"] is None:
        raise SpecError(f"IMAGE: {spec.image!r}: a description of a machine is no image: say --spec {spec.image}")
    if spec.image or (may_start_disk and (spec.disks or spec.firmware is not None)):
        return spec
    return spec.replace(image=DEFAULT_IMAGE)


def choice(option: str, value: str, known: Sequence[str]) -> str:
    """`value`, which must be one of those that are `known`. SpecError."""
    if value not in known:
        raise SpecError(f"{option}: {value!r} is not among its values: {known_names(value, known)}")
    return value


def parse(words: Sequence[str], options: Sequence[Option], argument: str) -> dict[str, Any] | None:
    """The values of all options by name, and of the one `argument`, which is None if it is not there.

    None where click has to say what is wrong, or what help there is. All else is as click has it.
    """
    switches = dict(_switches(options))
    values: dict[str, Any] = {option.name: () if option.arity is Arity.MANY else None for option in options}
    values[argument] = None
    rest = iter(words)
    for word in rest:
        if word == "--":
            break
        if not word.startswith("-") or word == "-":
            if not _take(values, argument, word):
                return None
            continue
        switch, value = _split(word, switches)
        found = switches.get(switch)
        if found is None:
            return None
        option, flag = found
        if option.arity is Arity.FLAG:
            if value is not None:
                return None
            values[option.name] = flag
            continue
        given = _following(value, rest, option.values)
        if given is None:
            return None
        values[option.name] = (*values[option.name], given) if option.arity is Arity.MANY else given
    return values if all(_take(values, argument, word) for word in rest) else None


def _following(value: str | None, rest: Iterator[str], count: int) -> str | tuple[str, ...] | None:
    """The values of an option: one that is written together with it, if any, and words behind. None if there are too few."""
    words = [] if value is None else [value]
    words += islice(rest, count - len(words))
    if len(words) < count:
        return None
    return words[0] if count == 1 else tuple(words)


def _take(values: dict[str, Any], argument: str, word: str) -> bool:
    """Whether `word` can be the command's argument."""
    if not word or values[argument] is not None:
        return False
    values[argument] = word
    return True


def _switches(options: Sequence[Option]) -> Iterator[tuple[str, tuple[Option, bool]]]:
    for option in options:
        for switch in option.switches:
            yield switch, (option, True)
        if option.denial:
            yield option.denial, (option, False)


def _split(word: str, switches: Mapping[str, object]) -> tuple[str, str | None]:
    """The switch in `word`, and the value that is written together with it."""
    if word in switches:
        return word, None
    if word.startswith("--"):
        switch, equals, value = word.partition("=")
        return switch, value if equals else None
    return word[:2], word[2:]
