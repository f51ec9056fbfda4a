"""Finds what a token, or a command line, is about."""

import importlib
import re
from typing import Final

from kev.race.catalogue import DEFAULT, Catalogue, CatalogueError
from kev.race.errors import TokenError
from kev.race.subject import Identity, Subject
from kev.race.trace.machine import PagerFactory
from kev.race.trace.program import Program
from kev.race.trace.subject import TraceSubject

_PROGRAM: Final = re.compile(r"\s*[rwfepc]\d")


def find_subject(identity: Identity) -> Subject:
    """The subject that a token was made of. TokenError if this process cannot run it; CatalogueError, ProgramError."""
    if identity.kind != "trace":
        raise TokenError(f"a token of kind {identity.kind!r} cannot be replayed here")
    program = Program.parse(identity.details)
    return TraceSubject(program, _find_pager(identity.target)) if identity.target else TraceSubject(program)


def _find_pager(path: str) -> PagerFactory:
    """What `module:name` refers to."""
    module, _, name = path.partition(":")
    try:
        factory: PagerFactory = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise CatalogueError(f"the token is about the pager {path}, which cannot be imported from here: {error}") from error
    return factory


def subject_called(name: str, catalogue: str = DEFAULT) -> Subject:
    """What a command line calls `name`: a trace program, or a mutant of the catalogue in the module `catalogue`. CatalogueError."""
    if _PROGRAM.match(name):
        return TraceSubject(Program.parse(name))
    return Catalogue.load(catalogue)[name].subject
