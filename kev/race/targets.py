"""Finds what a token, or a command line, is about."""

import os
import re
from typing import Final

import attrs

from kev.guests.catalogue import find_guest, nearest_guest
from kev.race.catalogue import DEFAULT, Catalogue, CatalogueError
from kev.race.errors import RaceError, TokenError
from kev.race.guest.subject import GuestSubject
from kev.race.memory_model import MemoryModel
from kev.race.subject import Identity, Subject
from kev.race.token import Token
from kev.race.trace.machine import PagerFactory
from kev.race.trace.program import Program
from kev.race.trace.subject import TraceSubject
from kev.race.working_directory import import_module
from kev.spec.machine_spec import MachineSpec

_PROGRAM: Final = re.compile(r"\s*(?:[rwfepc]\d|(?:m|l\d)(?:[rwfepcl]\d+(?:\+\d+)?|[m/\s\d])*(?:;|$))")
"""Names of guests begin with `m` and `l`, too: behind these all has to be a program."""


def find_subject(token: Token, pager: str | None = None) -> Subject:
    """The subject that a token was made of.

    A token is data, which may come from anybody: if it is about a pager other than kev's own, that is imported only if the user
    has named it, too, as `pager`. TokenError if this process cannot run it, if it is about something else than that pager, or if
    its schedule wants a vCPU that there is not; RaceError, ImageNotFound.
    """
    subject = _find_subject(token.identity, pager)
    for vcpu, _ in token.schedule.segments:
        if vcpu >= subject.actors:
            raise TokenError(f"the token's schedule wants vCPU {vcpu}, but there are {subject.actors}")
    return subject


def _find_subject(identity: Identity, pager: str | None) -> Subject:
    if pager is not None and (identity.kind != "trace" or not identity.target):
        about = "kev's own pager" if identity.kind == "trace" else f"the {identity.kind} {identity.target!r}"
        raise TokenError(f"--pager {pager}: it has no meaning here: the token is about {about}")
    if identity.kind == "guest":
        return GuestSubject.identified(identity)
    if identity.kind == "test":
        raise TokenError(
            f"the token is about a test of pytest: `kev race replay TOKEN --test {identity.target}` runs it, and tells it"
        )
    if identity.kind != "trace":
        raise TokenError(f"a token of kind {identity.kind!r} cannot be replayed here")
    program = Program.parse(identity.details)
    if not identity.target:
        return TraceSubject(program)
    if identity.target != pager:
        raise TokenError(f"the token is about the pager {identity.target!r}, which is imported only if you name it by --pager")
    return TraceSubject(program, _find_pager(pager))


def _find_pager(path: str) -> PagerFactory:
    """What `module:name` refers to."""
    module, _, name = path.partition(":")
    try:
        factory: PagerFactory = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise CatalogueError(f"the token is about the pager {path}, which cannot be imported from here: {error}") from error
    return factory


def subject_called(
    target: MachineSpec,
    catalogue: str = DEFAULT,
    random_seed: int = 0,
    *,
    after: str | None = None,
    snapshot: str | None = None,
    model: MemoryModel | None = MemoryModel.SC,
) -> Subject:
    """What a command line calls `target.image`: a trace program, a guest, or a broken pager of the module `catalogue`.

    The rest of `target` says what a guest's machine is like, `random_seed` what its RDRAND draws from. A guest goes on from the
    file `snapshot`, which may be the target itself, and from where `after` is met; `model` says when others see what its vCPUs
    store; without one, that is the guest's business. CatalogueError if there is nothing of that name; RaceError.
    """
    name = target.image
    if not _PROGRAM.match(name) and (os.path.isfile(name) or find_guest(name) is not None):
        return GuestSubject.find(target, random_seed, after=after, snapshot=snapshot, model=model)
    subject = TraceSubject(Program.parse(name)) if _PROGRAM.match(name) else _broken_pager(name, catalogue)
    if target != MachineSpec(name):
        raise RaceError(f"{name} is not a guest: there is no machine to choose")
    if after is not None or snapshot is not None:
        raise RaceError(f"{name} is not a guest: its runs begin at the beginning")
    if model is MemoryModel.SPLIT:
        raise RaceError(f"--memory-model split: {name} is not a guest: a step of a program is one access")
    return subject if model is not MemoryModel.TSO else attrs.evolve(subject, program=attrs.evolve(subject.program, tso=True))


def _broken_pager(name: str, catalogue: str) -> TraceSubject:
    try:
        return Catalogue.load(catalogue)[name].subject
    except CatalogueError as error:
        nearest = nearest_guest(name)
        hint = "" if nearest is None else f"is it {nearest!r}? "
        raise CatalogueError(
            f"{name} is neither a file, nor a guest ({hint}`kev guests` lists them), nor a trace program; {error}"
        ) from error
