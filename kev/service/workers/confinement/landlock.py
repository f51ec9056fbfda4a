"""Which files a worker can open: landlock(7). What is open already, stays so."""

import ctypes
import os
import struct
import sys
import sysconfig
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.util import find_spec
from typing import Final

from kev.service.workers.confinement.linux import give_up_new_privileges, system_call

_CREATE_RULESET: Final = 444
_ADD_RULE: Final = 445
_RESTRICT_SELF: Final = 446
_VERSION: Final = 1
_PATH_BENEATH: Final = 1

EXECUTE: Final = 1 << 0
_WRITE_FILE: Final = 1 << 1
_READ_FILE: Final = 1 << 2
READ_FOLDER: Final = 1 << 3
_REMOVE_FOLDER: Final = 1 << 4
_REMOVE_FILE: Final = 1 << 5
_MAKE_FOLDER: Final = 1 << 7
_MAKE_FILE: Final = 1 << 8
_TRUNCATE: Final = 1 << 14
_OF_FILES: Final = EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | 1 << 15
"""What a rule for a file, and not a folder, may have."""
_FILE_RIGHTS: Final = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
"""How many rights there are, by the version of the interface."""
_NETWORK_RIGHTS_FROM: Final = 4
_ALL_NETWORK_RIGHTS: Final = 3
_SCOPES_FROM: Final = 6
_ALL_SCOPES: Final = 3

READ: Final = _READ_FILE | READ_FOLDER
READ_WRITE: Final = READ | _WRITE_FILE
REPLACE: Final = READ_WRITE | _REMOVE_FILE | _MAKE_FILE | _TRUNCATE
"""Of a folder: files in it are made, and get another's place."""
ALL_OF_FOLDER: Final = REPLACE | _MAKE_FOLDER | _REMOVE_FOLDER
"""Folders as well."""

_OPTIONAL: Final = ("attr", "capstone", "elftools", "fsspec", "aiohttp", "structlog", "trio", "unicorn", "zstandard")
"""Packages that a machine may import late."""
_LIBRARIES: Final = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/etc/ld.so.cache", "/dev/null", "/dev/urandom")


def available() -> tuple[bool, str]:
    try:
        version = _version()
    except OSError as error:
        return False, f"the kernel has none: {error.strerror}"
    return True, f"version {version}"


def restrict(rules: Mapping[str, int], *, network: bool) -> None:
    """This thread, and those that it starts, can open what `rules` names, with those rights, and what `libraries` are.

    A rule for a folder is one for all that is in it. `network`: connections over TCP may be made. OSError.
    """
    version = _version()
    known = (1 << _FILE_RIGHTS[min(version, max(_FILE_RIGHTS))]) - 1
    attributes = struct.pack(
        "QQQ",
        known,
        _ALL_NETWORK_RIGHTS if version >= _NETWORK_RIGHTS_FROM and not network else 0,
        _ALL_SCOPES if version >= _SCOPES_FROM else 0,
    )
    # An older kernel knows a shorter structure only.
    length = 24 if version >= _SCOPES_FROM else 16 if version >= _NETWORK_RIGHTS_FROM else 8
    ruleset = system_call(_CREATE_RULESET, ctypes.create_string_buffer(attributes, 24), ctypes.c_size_t(length), 0)
    try:
        for path in libraries():
            _allow(ruleset, path, READ, known)
        for path, rights in rules.items():
            _allow(ruleset, path, rights, known)
        give_up_new_privileges()
        system_call(_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


@cache
def libraries() -> tuple[str, ...]:
    """What Python, its packages and shared libraries are loaded from, and kev's own files: none of them within another one."""
    folders = {sys.prefix, sys.base_prefix, *(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib"))}
    for package in ("kev", "kev.pager", "kev.fs"):
        folders.update(_folders_of(package))
    for package in _OPTIONAL:
        # Beside a package lie the modules that it is made of, and the libraries that it brings.
        folders.update(map(os.path.dirname, _folders_of(package)))
    folders.update(_LIBRARIES)
    found: list[str] = []
    for path in filter(os.path.exists, sorted(map(os.path.realpath, folders))):
        if not (found and path.startswith(f"{found[-1]}{os.sep}")):
            found.append(path)
    return tuple(found)


def _folders_of(package: str) -> Iterable[str]:
    found = find_spec(package)
    return () if found is None else found.submodule_search_locations or ()


def _allow(ruleset: int, path: str, rights: int, known: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        rights &= known if os.path.isdir(path) else known & _OF_FILES
        rule = ctypes.create_string_buffer(struct.pack("=Qi", rights, descriptor), 12)
        system_call(_ADD_RULE, ruleset, _PATH_BENEATH, rule, 0)
    finally:
        os.close(descriptor)


def _version() -> int:
    return system_call(_CREATE_RULESET, None, ctypes.c_size_t(0), _VERSION)
