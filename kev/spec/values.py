"""Values of a description's fields: from what a person or a program gives, to what the description holds.

Each function takes what the field is called there, for messages, and the value; it raises SpecError for one that cannot be.
"""

import os
from typing import Any, Final, NoReturn, TypeVar

from kev.errors import nearest_of
from kev.spec.durations import parse_duration
from kev.spec.errors import refusal, unknown
from kev.spec.files import DISK_ACCESSES, DISK_DEVICES, DiskFile, ModuleFile
from kev.spec.sizes import parse_size, size_text

MAX_VCPUS: Final = 64
LEAST_MEMORY: Final = 1 << 20
"""In bytes: a PC's firmware tables lie in the last part of the first MiB."""
MOST_MEMORY: Final = 1 << 40
_POLICIES: Final = ("lazy", "eager", "around", "record", "prefetch")
PAGING: Final = "lazy, eager, around=N, record=FILE or prefetch=FILE"
SYSCALLS: Final = ("native", "intercept", "emulate")
_LARGEST: Final = 1 << 48
_PAGE: Final = 4096
_MOST_DIGITS: Final = 999
_MOST_SECONDS: Final = 10**9
_TOO_LONG: Final = 10**_MOST_DIGITS

F = TypeVar("F", ModuleFile, DiskFile)


def path(label: str, value: Any) -> str:
    """The name of a file."""
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if not isinstance(value, str):
        raise refusal(label, value, "it must be the name of a file")
    if not value or "\0" in value:
        raise refusal(label, value, "no file has such a name")
    return value


def memory(label: str, value: Any) -> int:
    """Bytes. In a text, a number without a unit means MiB, as for QEMU, unless it is large enough to be bytes."""
    if isinstance(value, str):
        size = parse_size(value)
        if size is None:
            raise refusal(label, value, "it must be a size such as 256M or 4G")
        if value.isdigit() and size < LEAST_MEMORY:
            size <<= 20
    elif isinstance(value, int) and not isinstance(value, bool) and abs(value) < _TOO_LONG:
        size = value
    else:
        raise refusal(label, value, 'it must be bytes, or a text such as "256M"')
    if size < LEAST_MEMORY:
        hint = f' ("{size}M" is MiB)' if value == size and size > 0 else ""
        raise refusal(label, value, f"{size:,} bytes are too few: the least is {size_text(LEAST_MEMORY)}{hint}")
    if size > MOST_MEMORY:
        raise refusal(label, value, f"{size:,} bytes are too many: the most is {size_text(MOST_MEMORY)}")
    if size % _PAGE:
        raise refusal(label, value, f"{size:,} bytes are no multiple of a page of 4K")
    return size


def vcpus(label: str, value: Any) -> int:
    number = _whole(value)
    if number is None or not 1 <= number <= MAX_VCPUS:
        raise refusal(label, value, f"a machine has 1 to {MAX_VCPUS} vCPUs")
    return number


def integer(label: str, value: Any) -> int:
    """A whole number with fewer digits than Python refuses to write."""
    number = _whole(value)
    if number is None:
        raise refusal(label, value, f"it must be a whole number, of {_MOST_DIGITS} digits at most")
    return number


def _whole(value: Any) -> int | None:
    if isinstance(value, str) and value.isascii() and value.removeprefix("-").isdigit() and len(value) <= _MOST_DIGITS:
        value = int(value)
    return int(value) if isinstance(value, int) and not isinstance(value, bool) and abs(value) < _TOO_LONG else None


def positive(label: str, value: Any) -> int:
    """A whole number above 0."""
    number = _whole(value)
    if number is None or not 0 < number <= _LARGEST:
        raise refusal(label, value, f"it must be 1 to {_LARGEST}")
    return number


def size(label: str, value: Any) -> int:
    """Bytes, more than 0."""
    found = parse_size(value) if isinstance(value, str) else value
    if not isinstance(found, int) or isinstance(found, bool) or not 0 < found <= _LARGEST:
        raise refusal(label, value, f"it must be 1 to {_LARGEST} bytes, or a size such as 16M")
    return found


def seconds(label: str, value: Any) -> float:
    """A positive number, of which the host's clocks can make something; a text may have a unit behind it."""
    if isinstance(value, str) and (found := parse_duration(value)) is not None:
        return found if 0 < found <= _MOST_SECONDS else _no_time(label, value)
    try:
        number = float("nan" if isinstance(value, bool) else value)
    except (TypeError, ValueError, OverflowError):
        number = float("nan")
    return number if 0 < number <= _MOST_SECONDS else _no_time(label, value)


def _no_time(label: str, value: Any) -> NoReturn:
    raise refusal(label, value, f"it must be seconds, more than 0 and at most {_MOST_SECONDS:,}, such as 2.5, or 500ms, 90s or 10m")


def boolean(label: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise refusal(label, value, "it must be true or false")
    return value


def text(label: str, value: Any) -> str:
    """A string that reaches the guest."""
    if not isinstance(value, str):
        raise refusal(label, value, "it must be a text")
    if "\0" in value:
        raise refusal(label, value, "it contains a zero byte, which would end it")
    return value


def boot(label: str, value: Any) -> str:
    from kev.boot.protocols import PROTOCOLS

    return _one_of(label, value, "boot protocol", tuple(PROTOCOLS))


def abi(label: str, value: Any) -> str:
    from kev.abi.selection import ABIS

    return _one_of(label, value, "guest ABI", tuple(ABIS))


def syscall(label: str, value: Any) -> str:
    return _one_of(label, value, "way to carry SYSCALL out", SYSCALLS)


def paging(label: str, value: Any) -> str:
    """The text form of a paging policy."""
    if not isinstance(value, str):
        raise refusal(label, value, f"it must be {PAGING}")
    kind, equals, argument = value.partition("=")
    if value in ("lazy", "eager"):
        return value
    if kind == "around" and equals:
        return f"around={_pages(label, value, argument)}"
    if kind in ("record", "prefetch") and argument and "\0" not in argument:
        return value
    nearest = nearest_of(kind, _POLICIES)
    hint = "" if nearest is None or nearest == kind else f"is it {nearest!r}? "
    raise refusal(label, value, f"{hint}It must be {PAGING}" if hint else f"it must be {PAGING}")


def source_latency(label: str, value: Any) -> str:
    """The text form of a `kev.pager.slow_source.SourceDelay`."""
    from kev.spec.source_latency import delay_text, parse_source_latency

    if isinstance(value, str):
        parse_source_latency(value, label)
        return value
    return delay_text(value, label)


def modules(label: str, value: Any) -> tuple[ModuleFile, ...]:
    """Of texts, of paths, of pairs of a path and a text, or of mappings with `path` and `text`."""
    return tuple(_module(label, _file(label, item, ModuleFile, "a pair of a file and its text")) for item in _items(label, value))


def disks(label: str, value: Any) -> tuple[DiskFile, ...]:
    """Of texts, of paths, of tuples of a path, a device, an access and an overlay, or of mappings with these names."""
    what = "a file with its device and perhaps its access"
    return tuple(_disk(label, _file(label, item, DiskFile, what)) for item in _items(label, value))


def _items(label: str, value: Any) -> Any:
    if isinstance(value, str | os.PathLike):
        return (value,)
    if not isinstance(value, list | tuple):
        raise refusal(label, value, "it must be a list")
    return value


def _file(label: str, item: Any, kind: type[F], what: str) -> F:
    if isinstance(item, str):
        return kind.parse(label, item)
    if isinstance(item, os.PathLike):
        return kind(path(label, item))
    if isinstance(item, dict) and "path" in item and item.keys() <= set(kind._fields):
        return kind(**item)
    if isinstance(item, list | tuple) and 1 <= len(item) <= len(kind._fields):
        return kind(*item)
    raise refusal(label, item, f"it must be a file, or {what}")


def _module(label: str, file: ModuleFile) -> ModuleFile:
    name = path(label, file.path)
    return ModuleFile(name, text(f"{label}: {name}", file.text))


def _disk(label: str, file: DiskFile) -> DiskFile:
    name = path(label, file.path)
    device = _one_of(f"{label}: {name}", file.device, "device for a disk", DISK_DEVICES)
    access = _one_of(f"{label}: {name}", file.access, "access to a disk", DISK_ACCESSES)
    if not file.overlay:
        return DiskFile(name, device, access)
    overlay = path(f"{label}: {name}: overlay", file.overlay)
    if "," in overlay:
        raise refusal(f"{label}: {name}: overlay", overlay, "there can be no comma in the name of what keeps a disk's writes")
    if access != "overlay":
        raise refusal(f"{label}: {name}: overlay", overlay, f"it keeps what is written with access overlay, not {access}")
    return DiskFile(name, device, access, overlay)


def _pages(label: str, value: str, argument: str) -> int:
    from kev.pager.policy import MAX_AROUND

    count = int(argument) if argument.isascii() and argument.isdigit() and len(argument) < 10 else 0
    if not 1 <= count <= MAX_AROUND:
        raise refusal(label, value, f"a violation loads 1 to {MAX_AROUND} pages")
    return count


def _one_of(label: str, value: Any, what: str, known: tuple[str, ...]) -> str:
    if not isinstance(value, str):
        raise refusal(label, value, f"it must be one of {', '.join(known)}")
    if value not in known:
        raise unknown(label, value, what, known)
    return value
