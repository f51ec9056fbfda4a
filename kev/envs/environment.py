"""Environments: what JOS calls its processes, and its guests."""

from enum import Enum
from typing import Final, Protocol

from kev.addressing import Hpa

MOST_ENVIRONMENTS: Final = 1 << 10
"""At once; the lower bits of an id are the place in the table, those above count how often it was taken."""
_GENERATION_SHIFT: Final = 12
USER_TOP: Final = 0x80_0080_0000
"""UTOP: user-level addresses lie below. An address at or above it stands for "no page" in a message."""


class EnvironmentKind(Enum):
    """What an environment is (JOS, enum EnvType). The numbers are those of IPCSEND's destination, too."""

    USER = 0
    FS = 1
    GUEST = 2


class Status(Enum):
    """What an environment is doing."""

    RUNNABLE = "runnable"
    NOT_RUNNABLE = "not runnable"
    """It waits, or has not been started."""
    ENDED = "ended"


class AddressSpace(Protocol):
    """The pages of an environment: page tables, or the EPT of a guest."""

    @property
    def limit(self) -> int:
        """Addresses from here on are none of the environment's."""

    def find(self, address: int) -> "MappedPage | None":
        """The page that is mapped at a page boundary below `limit`."""

    def insert(self, address: int, page: Hpa, permissions: int) -> None:
        """Maps a page in place of the one that is there, which loses a reference: JOS' page_insert, or `ept_page_insert`.

        JosFailure (E_NO_MEM) if there is no room for tables. PageAbsent, before anything has changed, from a guest's memory.
        """

    def remove(self, address: int) -> None:
        """Unmaps what is there, if anything is."""


class MappedPage:
    """A page as an environment sees it."""

    __slots__ = ("page", "permissions")

    def __init__(self, page: Hpa, permissions: int) -> None:
        self.page: Final = page
        self.permissions: Final = permissions


class Environment:
    """One of them, with what JOS keeps of it in struct Env."""

    __slots__ = (
        "entry",
        "id",
        "kind",
        "parent",
        "receives_at",
        "receiving",
        "runs",
        "sender",
        "space",
        "status",
        "value",
        "with_page",
    )

    def __init__(self, id: int, kind: EnvironmentKind, parent: int, space: AddressSpace) -> None:
        self.id: Final = id
        self.kind: Final = kind
        self.parent: Final = parent
        """The id of the environment that made it; 0 if the host did."""
        self.space: Final = space
        self.entry = 0
        """Where a guest begins."""
        self.status: Status
        self.runs: int
        """How often it was switched to."""
        self.receiving: bool
        """It waits for a message."""
        self.receives_at: int
        """Where it wants the page that comes with one."""
        self.value: int
        """The last message's, 32 bits unsigned."""
        self.sender: int
        """The id of who sent it; 0 when it was read."""
        self.with_page: int
        """The permissions of the page that came with it; 0 if none did."""
        self.begin_anew()

    def switch_to(self) -> str:
        """It runs next; says how a guest is entered: VMLAUNCH the first time, else VMRESUME."""
        self.runs += 1
        return "VMLAUNCH" if self.runs == 1 else "VMRESUME"

    def begin_anew(self) -> None:
        """As when it was made: it is not started, and has had no message."""
        self.status = Status.NOT_RUNNABLE
        self.runs = self.receives_at = self.value = self.sender = self.with_page = 0
        self.receiving = False


def environment_id(place: int, generation: int = 1) -> int:
    """The id of the environment at a place in the table, which is taken for the `generation`th time."""
    return generation << _GENERATION_SHIFT | place
