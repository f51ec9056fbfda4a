"""The table of a description's fields, from which every form of it is read: keywords, options, TOML and JSON."""

from collections.abc import Callable
from enum import Enum
from typing import Any, Final

from kev.named_tuple import NamedTuple
from kev.spec import values
from kev.spec.files import DISK_DEVICES
from kev.spec.sizes import size_text


class Arity(Enum):
    """How often a field can be given on a command line, and with what."""

    ONE = "one"
    """An option with a value."""
    MANY = "many"
    """An option with a value, any number of times."""
    FLAG = "flag"
    """An option without a value, and another that denies it."""


class Field(NamedTuple):
    """One field of a description. Each of its options is a name for it in keywords, too."""

    name: str
    convert: Callable[[str, Any], Any]
    """The value from what was given; the first argument is what the field is called there. SpecError."""
    options: tuple[str, ...]
    """Of a command line, with their hyphens."""
    help: str
    metavar: str = ""
    arity: Arity = Arity.ONE
    text: Callable[[Any], str] = str
    """The value of the option that stands for a value of the field."""

    @property
    def option(self) -> str:
        """What messages about a command line call it."""
        return next(option for option in self.options if option.startswith("--"))

    @property
    def denial(self) -> str:
        """The option that a flag is denied by."""
        return "--no-" + self.option.removeprefix("--")


def _number(value: float) -> str:
    return repr(value).removesuffix(".0")


FIELDS: Final = (
    Field(
        "memory", values.memory, ("-m", "--memory"), metavar="SIZE", text=size_text,
        help="RAM, such as 256M or 4G; a number alone is MiB.  "
        "[default: what the guest asks for, or 256M; 16M for a guest of the JOS VMM]",
    ),
    Field(
        "vcpus", values.vcpus, ("--smp", "--vcpus"), metavar="N",
        help=f"vCPUs, 1 to {values.MAX_VCPUS}.  [default: what the guest asks for, or 1]",
    ),
    Field(
        "boot", values.boot, ("--boot",), metavar="PROTOCOL",
        help="keos, jos, multiboot2, multiboot1, pvh, linux16, linux, el_torito, real_mode or firmware.  "
        "[default: what the image says]",
    ),
    Field(
        "abi", values.abi, ("--abi",), metavar="ABI",
        help="How the guest talks to its hypervisor: keos, kvm, kev, jos, jos_vmx or lvisor.  "
        "[default: by the guest, or its boot protocol]",
    ),
    Field(
        "syscall", values.syscall, ("--syscall",), metavar="HOW",
        help="Who carries SYSCALL out: native (the CPU), emulate (the hypervisor, so that the guest's handler runs) or intercept "
        "(the hypervisor serves the call as --abi says, which is lvisor then).  [default: native]",
    ),
    Field("command_line", values.text, ("--append", "--command-line"), metavar="TEXT", help="The kernel's command line."),
    Field(
        "modules", values.modules, ("--module", "--initrd"), metavar="FILE[ TEXT]", arity=Arity.MANY,
        help='A boot module, with its command line; a name with spaces in it stands in double quotes: \'"my file" TEXT\'.',
    ),
    Field(
        "disks", values.disks, ("--disk",), metavar=f"FILE[,{'|'.join(DISK_DEVICES)}][,ro|overlay[=FILE]]", arity=Arity.MANY,
        help="A disk; svirtb is KeV's, and KeOS's are virtio-pci, of which there can be several. With ro it cannot be written; "
        "with overlay, the file stays as it is, and what is written lies in memory, or in the FILE of overlay=FILE, which "
        "is made if it is not there.  [default: svirtb]",
    ),
    Field(
        "firmware", values.path, ("--firmware",), metavar="FILE",
        help="Start this ROM, such as SeaBIOS, at the reset vector; IMAGE, if it is given, is a disk then.",
    ),
    Field(
        "boot_sector", values.path, ("--boot-sector",), metavar="FILE",
        help="The 512 bytes at 0x7000 that enter a guest of the JOS VMM.  [default: kev's own]",
    ),
    Field(
        "paging", values.paging, ("--paging",), metavar="POLICY",
        help=f"When pages are loaded: {values.PAGING}.  [default: lazy]",
    ),
    Field(
        "source_latency", values.source_latency, ("--source-latency",), metavar="TIME[,RATE]",
        help="Make the image's source slow, such as 2ms,100MB/s,jitter=1ms,seed=7.",
    ),
    Field(
        "seed", values.integer, ("--seed",), metavar="N",
        help="Make the run repeatable: the seed chooses the schedule, and time is virtual.",
    ),
    Field(
        "timeout", values.seconds, ("--timeout",), metavar="TIME", text=_number,
        help="End the run after so long: 2.5, 500ms, 90s, 10m.",
    ),
    Field("max_pages", values.positive, ("--max-pages",), metavar="N", help="End the run before more pages are loaded."),
    Field(
        "max_output", values.size, ("--max-output",), metavar="SIZE", text=size_text,
        help="End the run when the guest prints more bytes, such as 16M.",
    ),
    Field("retry", values.positive, ("--retry",), metavar="N", help="Ask so often again for what the image's source cannot give."),
    Field(
        "timeline", values.boolean, ("--timeline",), arity=Arity.FLAG,
        help="Put every violation and load into the report.",
    ),
    Field(
        "lenient_msr", values.boolean, ("--lenient-msr",), arity=Arity.FLAG,
        help="Unknown MSRs read as 0 instead of raising #GP.",
    ),
    Field(
        "strict_ports", values.boolean, ("--strict-ports",), arity=Arity.FLAG,
        help="Ports without a device end the run instead of reading all ones.",
    ),
    Field(
        "strict_memory", values.boolean, ("--strict-memory",), arity=Arity.FLAG,
        help="Addresses without memory or a device end the run instead of reading all ones.",
    ),
    Field(
        "keyboard", values.boolean, ("--keyboard",), arity=Arity.FLAG,
        help="Standard input is typed on the keyboard instead of on COM1's line.",
    ),
)  # fmt: skip
"""Of all fields but the image, in the order in which they are listed."""

_BY_NAME: Final = {field.name: field for field in FIELDS}


def field_named(name: str) -> Field | None:
    """The field called so: by its name, or by a long option without its hyphens, such as `smp` and `command_line`."""
    found = _BY_NAME.get(name)
    if found is None and name:
        option = "--" + name.replace("_", "-")
        found = next((field for field in FIELDS if option in field.options), None)
    return found


def names() -> list[str]:
    """All names that a field can be called by."""
    options = [option[2:].replace("-", "_") for field in FIELDS for option in field.options if option.startswith("--")]
    return list(dict.fromkeys(["image", *_BY_NAME, *options]))
