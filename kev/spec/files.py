"""Files that a machine is given: boot modules and disks, with what goes with each.

A module is written `FILE` or `FILE TEXT`. The name of a file with a space in it, or with a double quote at its beginning, stands in
double quotes; inside of them, a backslash makes the next character one of the name: `"my file" TEXT`.

A disk is written `FILE`, `FILE,DEVICE`, `FILE,ACCESS` or `FILE,DEVICE,ACCESS`. The name of a file with a comma in it is always
followed by the device. The access `overlay=OVERLAY` names the file that keeps what is written; there is no comma in that name.
"""

from typing import Final

from kev.named_tuple import NamedTuple
from kev.spec.errors import SpecError, refusal, unknown

DISK_DEVICES: Final = ("svirtb", "virtio", "virtio-pci", "ide", "ide-master", "ide-secondary", "cdrom", "ipc")
"""What a disk can be behind: the values of `kev.dev.storage.drive.DriveKind`."""

DISK_ACCESSES: Final = ("write", "ro", "overlay")
"""What a guest's writes to a disk are: written to its file, refused, or kept in memory until the machine is gone."""


_KEPT: Final = "overlay="


class ModuleFile(NamedTuple):
    """A boot module."""

    path: str
    text: str = ""
    """Its command line."""

    def __str__(self) -> str:
        path = self.path
        if " " in path or path.startswith('"'):
            escaped = path.replace("\\", "\\\\").replace('"', '\\"')
            path = f'"{escaped}"'
        return f"{path} {self.text}" if self.text else path

    @classmethod
    def parse(cls, label: str, text: str) -> "ModuleFile":
        """SpecError if a quoted name does not end."""
        if text.startswith('"'):
            return cls(*_unquoted(label, text))
        path, _, line = text.partition(" ")
        return cls(path, line)


class DiskFile(NamedTuple):
    """A disk."""

    path: str
    device: str = DISK_DEVICES[0]
    """What it is behind."""
    access: str = DISK_ACCESSES[0]
    """What the guest's writes are."""
    overlay: str = ""
    """With access `overlay`: the file that keeps what is written, also when the machine is gone."""

    @property
    def writes(self) -> bool:
        """A file of the host is written to."""
        return self.access == DISK_ACCESSES[0] or bool(self.overlay)

    def __str__(self) -> str:
        device = self.device if self.device != DISK_DEVICES[0] or "," in self.path else ""
        access = self.access if self.access != DISK_ACCESSES[0] else ""
        if self.overlay:
            access = f"{_KEPT}{self.overlay}"
        return ",".join(filter(None, (self.path, device, access)))

    @classmethod
    def parse(cls, label: str, text: str) -> "DiskFile":
        """SpecError if there is no such device."""
        path, comma, word = text.rpartition(",")
        access, overlay = DISK_ACCESSES[0], ""
        if comma and (word in DISK_ACCESSES or word.startswith(_KEPT)):
            access, _, overlay = word.partition("=")
            if not overlay and word not in DISK_ACCESSES:
                raise refusal(label, text, "the file that keeps what is written has a name, as in disk.img,overlay=writes")
            text, (path, comma, word) = path, path.rpartition(",")
        if comma and (word in DISK_ACCESSES or word.startswith(_KEPT)):
            raise refusal(label, text, f"what a guest's writes are is said twice: one of {', '.join(DISK_ACCESSES)}")
        if not comma:
            return cls(text, access=access, overlay=overlay)
        if word not in DISK_DEVICES:
            what = "device for a disk, and a name with a comma in it needs one behind it"
            raise unknown(f"{label}: {text}", word, what, (*DISK_DEVICES, *DISK_ACCESSES))
        return cls(path, word, access, overlay)


def _unquoted(label: str, text: str) -> tuple[str, str]:
    """The quoted name at the beginning of `text`, and what follows it."""
    path, position = "", 1
    while position < len(text) and text[position] != '"':
        position += text[position] == "\\"
        path += text[position : position + 1]
        position += 1
    rest = text[position + 1 :]
    if position >= len(text) or (rest and rest[0] != " "):
        raise _malformed(label, text)
    return path, rest[1:]


def _malformed(label: str, text: str) -> SpecError:
    return refusal(label, text, 'a quoted name ends with a double quote, and behind it comes a space, as in "my file" TEXT')
