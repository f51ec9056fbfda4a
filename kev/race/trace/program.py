"""What the vCPUs of a trace program do, as data.

A program has a short text: vCPUs separated by `/`, each a list of actions such as `r0` (read page 0), `w` write, `f` fetch
(execute), `e` evict, `p` prefetch, `c` cancel (vCPU 1 with `c1`); `p0+3` prefetches three pages. Behind a `;` stands what is
particular about a page: `0=i` its source answers instantly, `x2` its first two loads fail, `n1` its loader needs page 1 first;
`s` alone lets violations take the pager's synchronous short cut, and `tso` gives vCPUs store buffers, which `m` (a fence) and `l0`
(a locked store to page 0) empty. `!0r1,1r0` is an outcome that must not be: see `kev.race.trace.forbidden`.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from typing import Final, Self

import attrs

from kev.race.errors import ProgramError
from kev.race.interleaving import MAX_VCPUS
from kev.race.trace.forbidden import FORBIDDEN, Observation, parse_forbidden

MAX_PAGES: Final = 62
"""As many as fit into one word of what a step accesses."""
MAX_ACTIONS: Final = 500
"""Of all vCPUs: those of many more take more steps than a run may have."""
_LONGEST_TEXT: Final = 1 << 14
"""Characters."""

SLOT: Final = 8
"""Every vCPU stores to a slot of its own in each page: so many bytes from its number times `SLOT` on."""
_SHORT_CUT: Final = "s"
_TSO: Final = "tso"
_FENCE: Final = "m"
_ACTION: Final = re.compile(r"([rwfepcl])(\d{1,9})(?:\+(\d{1,9}))?|m", re.ASCII)
_PAGE: Final = re.compile(r"(\d{1,9})=(i?)(?:x(\d{1,9}))?(?:n(\d{1,9}))?", re.ASCII)


class Verb(StrEnum):
    """What a vCPU can do; the value is its letter in a program's text."""

    READ = "r"
    WRITE = "w"
    FETCH = "f"
    EVICT = "e"
    PREFETCH = "p"
    CANCEL = "c"
    """Whatever the other vCPU does in the pager is cancelled, as trio cancels a task."""
    LOCKED_WRITE = "l"
    """A store that others see at once, and all before it, too: what XCHG with memory does."""
    FENCE = "m"
    """Others see all stores before it: MFENCE."""


@attrs.frozen(slots=True)
class Action:
    """One thing that a vCPU does."""

    verb: Verb
    target: int
    """The number of a page; of a vCPU for CANCEL; 0 for FENCE."""
    count: int = 1
    """How many pages, for PREFETCH."""

    @property
    def pages(self) -> range:
        return range(0) if self.verb in _WITHOUT_PAGES else range(self.target, self.target + self.count)

    def __str__(self) -> str:
        if self.verb is Verb.FENCE:
            return _FENCE
        return f"{self.verb.value}{self.target}" + (f"+{self.count}" if self.count > 1 else "")


_WITHOUT_PAGES: Final = (Verb.CANCEL, Verb.FENCE)


def read(page: int) -> Action:
    return Action(Verb.READ, page)


def write(page: int) -> Action:
    return Action(Verb.WRITE, page)


def fetch(page: int) -> Action:
    return Action(Verb.FETCH, page)


def evict(page: int) -> Action:
    return Action(Verb.EVICT, page)


def prefetch(page: int, count: int = 1) -> Action:
    return Action(Verb.PREFETCH, page, count)


def cancel(vcpu: int) -> Action:
    return Action(Verb.CANCEL, vcpu)


def locked_write(page: int) -> Action:
    return Action(Verb.LOCKED_WRITE, page)


def fence() -> Action:
    return Action(Verb.FENCE, 0)


@attrs.frozen(slots=True)
class Page:
    """What loading a page is like."""

    instant: bool = False
    """Its source answers at once; else it has to be awaited, for as long as the schedule wants."""
    failures: int = 0
    """So many loads fail before the first that succeeds."""
    needs: int | None = None
    """The page that its loader touches itself."""

    def __str__(self) -> str:
        failures = f"x{self.failures}" if self.failures else ""
        needs = "" if self.needs is None else f"n{self.needs}"
        return ("i" if self.instant else "") + failures + needs


ORDINARY: Final = Page()


@attrs.frozen(slots=True)
class Program:
    """What each vCPU does, one action after the other. ProgramError if it refers to what there is not."""

    vcpus: tuple[tuple[Action, ...], ...]
    pages: tuple[Page, ...]
    """By number. Page n is at the guest-physical address n << 12."""
    short_cut: bool = False
    """Violations are answered by `try_lazy_paging` where that takes no waiting, as they are outside race tests."""
    tso: bool = False
    """Stores wait in store buffers: total store order. Else others see them at once."""
    forbidden: tuple[Observation, ...] = ()
    """It is a failure if all of this is observed."""

    def __attrs_post_init__(self) -> None:
        check_sizes(len(self.vcpus), len(self.pages), self.tso)
        _check_size("actions", sum(map(len, self.vcpus)), MAX_ACTIONS, least=0)
        for vcpu, actions in enumerate(self.vcpus):
            for action in actions:
                self._check_action(vcpu, action)
        for number, page in enumerate(self.pages):
            if page.needs is not None and not 0 <= page.needs < number:
                raise ProgramError(f"the loader of page {number} needs page {page.needs}: it may only need a page before its own")
            if page.needs is not None and page.instant:
                raise ProgramError(f"page {number} is instant and needs page {page.needs}: who needs another page has to wait")

        for observation in self.forbidden:
            if observation.vcpu >= len(self.vcpus) or observation.page >= len(self.pages):
                raise ProgramError(
                    f"!{observation}: the vCPUs are 0 to {len(self.vcpus) - 1}, and the pages 0 to {len(self.pages) - 1}"
                )

    @classmethod
    def of(
        cls,
        *vcpus: Iterable[Action],
        pages: Sequence[Page] = (),
        short_cut: bool = False,
        tso: bool = False,
        forbidden: Sequence[Observation] = (),
    ) -> Self:
        """A program of these vCPUs. Pages not named in `pages` are ordinary ones: loaded from a source that has to be awaited."""
        lists = tuple(tuple(actions) for actions in vcpus)
        count = max((page + 1 for actions in lists for action in actions for page in action.pages), default=1)
        return cls(lists, (*pages, *(ORDINARY,) * (count - len(pages))), short_cut, tso, tuple(forbidden))

    @classmethod
    def parse(cls, text: str) -> Self:
        """The program that `text` describes. ProgramError names the part that makes no sense."""
        _check_size("characters", len(text), _LONGEST_TEXT, least=0)
        vcpus, *rest = text.replace(" ", "").split(";")
        outcomes = [part for part in rest if part.startswith(FORBIDDEN)]
        if len(outcomes) > 1:
            raise ProgramError(f"{outcomes[1]!r}: a program has one outcome that must not be")
        particular = dict(_parse_page(part) for part in rest if part not in (_SHORT_CUT, _TSO, *outcomes))
        count = max(particular, default=-1) + 1
        _check_size("pages", count, MAX_PAGES, least=0)
        return cls.of(
            *(_parse_actions(part) for part in vcpus.split("/")),
            pages=[particular.get(number, ORDINARY) for number in range(count)],
            short_cut=_SHORT_CUT in rest,
            tso=_TSO in rest,
            forbidden=parse_forbidden(outcomes[0]) if outcomes else (),
        )

    def __str__(self) -> str:
        vcpus = "/".join("".join(map(str, actions)) for actions in self.vcpus)
        particular = [f";{number}={page}" for number, page in enumerate(self.pages) if page != ORDINARY or self._unseen(number)]
        rest = [_SHORT_CUT] * self.short_cut + [_TSO] * self.tso
        rest += [FORBIDDEN + ",".join(map(str, self.forbidden))] * bool(self.forbidden)
        return vcpus + "".join(particular) + "".join(f";{part}" for part in rest)

    def actions(self) -> Iterator[Action]:
        for actions in self.vcpus:
            yield from actions

    def _unseen(self, number: int) -> bool:
        """The last page has to be named if no action tells that there are so many."""
        return number == len(self.pages) - 1 and not any(number in action.pages for action in self.actions())

    def _check_action(self, vcpu: int, action: Action) -> None:
        if action.verb is Verb.CANCEL:
            if not 0 <= action.target < len(self.vcpus):
                raise ProgramError(f"{action}: there is no vCPU {action.target}, the last is {len(self.vcpus) - 1}")
            if action.target == vcpu:
                raise ProgramError(f"{action}: vCPU {vcpu} cannot cancel itself")
        elif action.verb is Verb.FENCE:
            return
        elif action.pages.stop > len(self.pages) or action.target < 0 or action.count < 1:
            raise ProgramError(f"{action}: the pages are 0 to {len(self.pages) - 1}")


def check_sizes(vcpus: int, pages: int, tso: bool = False) -> None:
    """ProgramError if a trace run cannot have so many of them. Store buffers are chosen as vCPUs are, and count as such."""
    _check_size("vCPUs with store buffers" if tso else "vCPUs", vcpus, MAX_VCPUS // 2 if tso else MAX_VCPUS)
    _check_size("pages", pages, MAX_PAGES)


def _check_size(what: str, count: int, most: int, least: int = 1) -> None:
    if not least <= count <= most:
        raise ProgramError(f"a program of {count} {what}: it has {least} to {most}")


def _parse_actions(text: str) -> list[Action]:
    actions = []
    position = 0
    while position < len(text):
        match = _ACTION.match(text, position)
        if match is None:
            raise ProgramError(f"{text[position:]!r}: an action is one of r w l f e p c and a number, such as r0 or p1+2, or m")
        position = match.end()
        verb, target, count = match.groups()
        if verb is None:
            actions.append(fence())
            continue
        if count is not None and verb != Verb.PREFETCH.value:
            raise ProgramError(f"{match.group()!r}: only prefetch (p) takes several pages")
        actions.append(Action(Verb(verb), int(target), int(count or 1)))
    return actions


def _parse_page(text: str) -> tuple[int, Page]:
    match = _PAGE.fullmatch(text)
    if match is None:
        raise ProgramError(
            f"{text!r}: a page is its number, = and what applies of i (instant), x (failures) and n (needs), as in 1=x2n0"
        )
    number, instant, failures, needs = match.groups()
    return int(number), Page(bool(instant), int(failures or 0), None if needs is None else int(needs))
