"""What of this engine is compiled for the host: the libraries that `native/*.c` become, where there are any."""

import ctypes
import os
import sys
from typing import Final


def library(name: str, version: int) -> ctypes.CDLL | None:
    """That of `native/NAME.c`; None if there is none for this host, or if its `kev_NAME_version` says that it is another one."""
    if sys.platform != "linux":
        return None
    folder = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))
    try:
        found = ctypes.CDLL(os.path.join(folder, "data", f"{name}-{os.uname().machine}.so"))
        return found if found[f"kev_{name}_version"]() == version else None
    except (OSError, AttributeError):
        return None


def address_of(of: object) -> int:
    """Of a function, in this process."""
    return ctypes.cast(of, ctypes.c_void_p).value or 0  # type: ignore[arg-type]


class Structure:
    """Quadwords that native code reads and writes."""

    __slots__ = ("address", "words")

    def __init__(self, length: int) -> None:
        memory = ctypes.create_string_buffer(8 * length)
        self.address: Final = ctypes.addressof(memory)
        self.words: Final = memoryview(memory).cast("B").cast("Q")
