"""Modules that a user names: a pager under test, a catalogue of broken ones."""

import importlib
import os
import sys
from types import ModuleType


def import_module(name: str) -> ModuleType:
    """A module, as `python -m` would find it: from the working directory first. ImportError.

    The working directory is where modules are looked for only from here on: nothing that lies there is imported unless it is named.
    """
    directory = os.getcwd()
    if directory not in sys.path:
        sys.path.insert(0, directory)
    return importlib.import_module(name)
