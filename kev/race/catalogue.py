"""A catalogue of pagers that are broken on purpose: what a race test must be able to find."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import attrs

from kev.race.errors import RaceError
from kev.race.trace.machine import PagerFactory
from kev.race.trace.program import Program
from kev.race.trace.subject import TraceSubject
from kev.race.working_directory import import_module

DEFAULT: Final = "tests.race.mutants"
"""The module of kev's own catalogue, in a checkout."""


class CatalogueError(RaceError):
    """There is no such catalogue, or no such entry in it."""


@attrs.frozen(slots=True)
class Mutant:
    """One broken pager, with a program that shows it under some schedule."""

    name: str
    flaw: str
    """What is wrong with it, in a line."""
    factory: PagerFactory
    program: Program

    @property
    def subject(self) -> TraceSubject:
        return TraceSubject(self.program, self.factory)


@attrs.frozen(slots=True)
class Catalogue:
    """Mutants by name."""

    module: str
    mutants: Sequence[Mutant]

    @classmethod
    def load(cls, module: str = DEFAULT) -> "Catalogue":
        """The catalogue that `module` calls `MUTANTS`, imported as if from the working directory. CatalogueError."""
        try:
            found = import_module(module)
        except ModuleNotFoundError as error:
            raise CatalogueError(f"catalogue {module}: cannot be imported from {Path.cwd()}: {error}") from error
        mutants = getattr(found, "MUTANTS", None)
        if not isinstance(mutants, Iterable):
            raise CatalogueError(f"catalogue {module}: it has no list MUTANTS")
        return cls(module, tuple(mutants))

    def __getitem__(self, name: str) -> Mutant:
        for mutant in self.mutants:
            if mutant.name == name:
                return mutant
        known = ", ".join(mutant.name for mutant in self.mutants)
        raise CatalogueError(f"catalogue {self.module}: there is no {name!r}; it has {known}")
