"""The machine that a guest is raced on, as it can be asked for on a command line and written into a token."""

import shlex
from collections.abc import Iterator
from typing import Final, Self

import attrs

from kev.race.errors import TokenError

_REQUIRED: Final = ("smp", "memory", "exit", "crc")


@attrs.frozen(slots=True)
class MachineWishes:
    """What is wanted of a machine; None where it is as the guest asks for."""

    vcpus: int | None = None
    memory: int | None = None
    boot: str | None = None
    command_line: str | None = None
    modules: tuple[tuple[str, str], ...] = ()


NO_WISHES: Final = MachineWishes()


@attrs.frozen(slots=True)
class Configuration:
    """An image and its machine."""

    image: str
    """A file, or the name of a guest on the root file system."""
    vcpus: int
    memory: int
    """Bytes of RAM."""
    boot: str | None = None
    """The name of a boot protocol; None for the one that the guest asks for, or else the image is made for."""
    command_line: str = ""
    modules: tuple[tuple[str, str], ...] = ()
    """Files, and the text that goes with each; without any, a guest of the root file system has its own."""

    def details(self, exit_code: int, checksum: int) -> str:
        """For a token: all but the image's name; `checksum` is that of the image and its modules."""
        return shlex.join(self._words(exit_code, checksum))

    @classmethod
    def parse(cls, image: str, details: str) -> tuple[Self, int, int]:
        """What `details` was made from: the configuration, the exit code and the checksum. TokenError."""
        words = [word.partition("=") for word in shlex.split(details)]
        values = {key: value for key, _, value in words if key != "module"}
        modules = tuple((name, text) for key, _, value in words if key == "module" for name, _, text in [value.partition(" ")])
        try:
            vcpus, memory, exit_code = (int(values[key]) for key in _REQUIRED[:3])
            checksum = int(values["crc"], 16)
        except (KeyError, ValueError) as error:
            raise TokenError(f"guest {image}: a token does not describe a machine by {details!r}") from error
        return cls(image, vcpus, memory, values.get("boot"), values.get("append", ""), modules), exit_code, checksum

    def _words(self, exit_code: int, checksum: int) -> Iterator[str]:
        yield f"smp={self.vcpus}"
        yield f"memory={self.memory}"
        yield f"exit={exit_code}"
        yield f"crc={checksum:08x}"
        if self.boot is not None:
            yield f"boot={self.boot}"
        if self.command_line:
            yield f"append={self.command_line}"
        for name, text in self.modules:
            yield f"module={name} {text}".rstrip()
