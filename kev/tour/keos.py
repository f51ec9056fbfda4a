"""KeV and KeOS: a guest is launched without being loaded, and its races are found."""

from typing import Final

from kev.addressing import Gpa
from kev.exits import Access
from kev.page_tables.format import ENTRY_NAMES, LEVELS, level_shift
from kev.tour.exercise import Exercise, Tour, WrongAnswer, require_numbers
from kev.tour.guests import require_end, require_hypercalls, require_output, see

_GPA: Final = Gpa(0x81_40C0_7000)
_TEXT: Final = b"hello\n"
_CODE: Final = 42
_PAGES: Final = 100
_RACED: Final = "lost-update"


def _hello(image: str) -> str:
    seen = see(image, abi="keos")
    require_end(seen, _CODE)
    require_hypercalls(seen, [1, 0], cpl=0)
    require_output(seen, _TEXT)
    return f"it prints {_TEXT!r} by hypercall 1 and ends with exit code {_CODE} by hypercall 0"


def _touch(image: str) -> str:
    seen = see(image, abi="keos", memory="64M")
    require_end(seen)
    loaded = seen.report.pages_loaded
    if loaded != _PAGES:
        raise WrongAnswer(f"{loaded} pages are loaded, not {_PAGES}; `kev run IMAGE --trace-exits` shows which")
    return f"{_PAGES} pages are loaded, of {seen.report.ram_pages:,}"


def _indices(text: str) -> str:
    right = [_GPA >> level_shift(level) & 511 for level in range(LEVELS, 0, -1)]
    require_numbers(text, right, ENTRY_NAMES[:0:-1])
    return "these are the entries that a walk reads"


def _qualification(text: str) -> str:
    require_numbers(text, [Access.WRITE], ["the exit qualification"])
    return "a write alone, and no permission of the page: it is not mapped"


def _lost(token: str) -> str:
    from kev.race.strategy.replay import ReplayScheduler
    from kev.race.targets import find_subject
    from kev.race.token import Token

    wanted = Token.read(token)
    if (wanted.identity.kind, wanted.identity.target) != ("guest", _RACED):
        raise WrongAnswer(f"the token is about the {wanted.identity.kind} {wanted.identity.target!r}, not the guest {_RACED!r}")
    failure = find_subject(wanted).replay(ReplayScheduler(wanted.schedule)).failure
    if failure is None:
        raise WrongAnswer("with this schedule no increment is lost: the guest ends as it should")
    return f"{failure.oracle}: {failure.message}"


TOUR: Final = Tour(
    "keos",
    "KeV and KeOS: launched without being loaded",
    "docs/tours/keos.md",
    (
        Exercise(
            "hello",
            "Make a kernel that prints `hello` and a line end by hypercall 1 (text in RDI, length in RSI), and ends the run "
            f"with exit code {_CODE} by hypercall 0 (code in RDI).",
            "IMAGE",
            _hello,
        ),
        Exercise(
            "touch",
            f"Make a kernel that ends with exit code 0, and of whose machine of 64 MiB exactly {_PAGES} pages are loaded. The "
            "last line of `kev run` counts them.",
            "IMAGE",
            _touch,
        ),
        Exercise(
            "indices",
            f"A nested page table of 4 levels is walked for gpa {_GPA:#x}. Which entry of each table is read, from level 4 down?",
            "N,N,N,N",
            _indices,
        ),
        Exercise(
            "qualification",
            "A guest writes to a page that is not mapped yet. What are bits 5 to 0 of the exit qualification of its EPT violation?",
            "NUMBER",
            _qualification,
        ),
        Exercise(
            "lost-update",
            f"Find a schedule with which the guest {_RACED} loses an increment: `kev race` prints its token.",
            "TOKEN",
            _lost,
        ),
    ),
)
