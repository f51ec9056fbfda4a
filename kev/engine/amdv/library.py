"""libunicorn, found and loaded: without the binding that it comes with, and while something else is done if there is time."""

import _thread
import ctypes
import os
import sys
from importlib.util import find_spec

from kev.errors import KevError


class UnicornMissing(KevError):
    """The unicorn package, or the library in it, is not installed."""


def load() -> ctypes.PyDLL:
    """UnicornMissing if it is not there, or cannot be loaded."""
    path = _path()
    try:
        # PyDLL keeps the interpreter's lock: its functions are over sooner than it could be given away and taken back.
        return ctypes.PyDLL(path, handle=_open(path) or None)
    except OSError as error:
        raise UnicornMissing(f"libunicorn cannot be loaded: {error}") from error


def load_beside() -> None:
    """Has it loaded by another thread; `load` waits for that. Most of the time goes without the interpreter's lock.

    This process must not be forked before.
    """
    try:
        _thread.start_new_thread(_open, (_path(),))
    except (UnicornMissing, RuntimeError):
        """`load` says what there is to say."""


def _path() -> str:
    package = find_spec("unicorn")
    if package is None or not package.submodule_search_locations:
        raise UnicornMissing("the Python package unicorn is not installed: `pip install unicorn`")
    name = "libunicorn.2.dylib" if sys.platform == "darwin" else "libunicorn.so.2"
    return os.path.join(package.submodule_search_locations[0], "lib", name)


def _open(path: str) -> int:
    """Opens a library, whose functions are looked up when they are called: there are thousands. 0 if that is not possible."""
    function = ctypes.CDLL(None).dlopen
    function.restype, function.argtypes = ctypes.c_void_p, (ctypes.c_char_p, ctypes.c_int)
    return function(os.fsencode(path), os.RTLD_LAZY | os.RTLD_LOCAL) or 0
