"""Finds what a token, or a command line, is about."""

from kev.race.catalogue import Catalogue
from kev.race.errors import TokenError
from kev.race.subject import Identity, Subject
from kev.race.trace.program import Program
from kev.race.trace.subject import TraceSubject


def find_subject(identity: Identity) -> Subject:
    """The subject that a token was made of. TokenError if this process cannot run it; CatalogueError, ProgramError."""
    if identity.kind == "trace":
        program = Program.parse(identity.details)
        module, colon, name = identity.target.rpartition(":")
        return TraceSubject(program, Catalogue.load(module)[name].factory, identity.target) if colon else TraceSubject(program)
    raise TokenError(f"a token of kind {identity.kind!r}: this version of kev only knows traces")
